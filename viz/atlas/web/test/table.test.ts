import { describe, expect, it } from "vitest";
import { arrange, fromHash, INITIAL, parseQuery, toHash, type LayerData } from "../src/table";

const data: LayerData = {
  layer: "blocks.1",
  ordinal: 1,
  labels: ["dots", "rings"],
  labelled: [[0], [0, 1], [], []],
  columns: {
    unit: [0, 1, 2, 10],
    words: ["dots", "Dots, rings", "zebra", ""],
    dead: [false, false, false, true],
    max: [3, 1, 2, 0],
    ratio: [1.5, null, 0.5, null],
  },
};

function rows(find: string, sort = "unit", down = false): number[] {
  return arrange(data, { ...INITIAL, find, sort, down }).rows.map((row) => data.columns["unit"]![row] as number);
}

describe("arrange", () => {
  it("keeps everything without a query", () => expect(rows("")).toEqual([0, 1, 2, 10]));
  it("needs every word", () => {
    expect(rows("DOTS")).toEqual([0, 1]);
    expect(rows("dots rings")).toEqual([1]);
  });
  it("finds a unit by its whole number only", () => {
    expect(rows("10")).toEqual([10]);
    expect(rows("0")).toEqual([0]);
  });
  it("compares statistics, and null never holds", () => {
    expect(rows("ratio>1")).toEqual([0]);
    expect(rows("ratio<=1.5")).toEqual([0, 2]);
    expect(rows("max>=1 max<3")).toEqual([1, 2]);
    expect(rows("dead=1")).toEqual([10]);
  });
  it("sorts, with units that have no value last in both directions", () => {
    expect(rows("", "max")).toEqual([10, 1, 2, 0]);
    expect(rows("", "max", true)).toEqual([0, 2, 1, 10]);
    expect(rows("", "ratio")).toEqual([2, 0, 1, 10]);
    expect(rows("", "ratio", true)).toEqual([0, 2, 1, 10]);
  });
  it("keeps units with a label, besides the words", () => {
    const kept = (label: string, find = ""): number[] => arrange(data, { ...INITIAL, label, find }).rows;
    expect(kept("dots")).toEqual([0, 1]);
    expect(kept("rings")).toEqual([1]);
    expect(kept("dots", "rings")).toEqual([1]);
    expect(kept("unknown")).toEqual([]);
  });
  it("names statistics that do not exist", () => {
    expect(arrange(data, { ...INITIAL, find: "rato>1" }).unknown).toEqual(["rato"]);
  });
  it("falls back to the number for an unknown column", () => expect(rows("", "nothing")).toEqual([0, 1, 2, 10]));
});

describe("parseQuery", () => {
  it("takes signs and exponents", () => {
    expect(parseQuery("max>-1.5e-3", ["max"]).conditions).toEqual([{ column: "max", operator: ">", value: -0.0015 }]);
  });
});

describe("the hash", () => {
  it.each([
    INITIAL,
    { find: "a&b=c #d", sort: "max", down: true, show: "patches", label: "" },
    { find: "", sort: "unit", down: true, show: "", label: "\u202eb=c&" },
    { find: "\u96ea <b>", sort: "ratio", down: false, show: "synthetic", label: "" },
  ])("keeps a view", (view) => expect(fromHash(toHash(view))).toEqual(view));
  it("is empty for the initial view", () => expect(toHash(INITIAL)).toBe(""));
  it("ignores what it does not know", () => expect(fromHash("#show=evil&x=1")).toEqual(INITIAL));
});
