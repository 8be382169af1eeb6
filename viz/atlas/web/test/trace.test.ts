import { describe as group, expect, it } from "vitest";
import { fitted, firstPicture } from "../src/photograph";
import { describe, hasEnded, Trace, type Progress } from "../src/trace";

const running: Progress = {
  state: "running", ahead: 0, step: 2, steps: 4, attempt: 1, told: 0, scores: [1, 3], picture: "", message: "",
};

group("Trace", () => {
  it("adds what was not told yet", () => {
    const trace = new Trace();
    trace.add(running);
    trace.add({ ...running, told: 2, scores: [2] });
    expect(trace.scores).toEqual([1, 3, 2]);
  });
  it("starts again when everything is told again", () => {
    const trace = new Trace();
    trace.add(running);
    trace.add(running);
    expect(trace.scores).toEqual([1, 3]);
  });
  it("starts again with a second attempt", () => {
    const trace = new Trace();
    trace.add(running);
    trace.add({ ...running, attempt: 2, scores: [5] });
    expect(trace.scores).toEqual([5]);
  });
  it("repeats the last score where there is none", () => {
    const trace = new Trace();
    trace.add({ ...running, scores: [null, 2, null] });
    expect(trace.scores).toEqual([0, 2, 2]);
  });
  it("draws from left to right, the highest score at the top", () => {
    const trace = new Trace();
    expect(trace.path(30, 10, 4)).toBe("");
    trace.add({ ...running, scores: [0, 5, 10] });
    expect(trace.path(30, 10, 4)).toBe("M0.0 10.0L10.0 5.0L20.0 0.0");
  });
});

group("describe", () => {
  it.each([
    [{ ...running }, "step 2 of 4"],
    [{ ...running, attempt: 2 }, "step 2 of 4, attempt 2"],
    [{ ...running, steps: 0 }, "starting"],
    [{ ...running, state: "queued" as const, ahead: 1 }, "queued, 1 before it"],
    [{ ...running, state: "queued" as const, ahead: 3 }, "queued, 3 before it"],
    [{ ...running, state: "failed" as const, message: "no such unit" }, "no such unit"],
  ])("says %j", (progress, text) => expect(describe(progress)).toBe(text));
  it("knows the end", () => {
    expect(hasEnded(running)).toBe(false);
    expect(hasEnded({ ...running, state: "cancelled" })).toBe(true);
  });
});

group("photographs", () => {
  it("are not enlarged", () => expect(fitted(320, 240, 640)).toEqual({ width: 320, height: 240 }));
  it("keep their shape", () => expect(fitted(1920, 1080, 640)).toEqual({ width: 640, height: 360 }));
  it("are the pictures among files", () => {
    const files = [new File([], "a.txt", { type: "text/plain" }), new File([], "b", { type: "image/png" })];
    expect(firstPicture(files)?.name).toBe("b");
    expect(firstPicture(null)).toBeUndefined();
  });
});
