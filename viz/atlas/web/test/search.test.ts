import { describe, expect, it } from "vitest";
import { search, type SearchData } from "../src/search";

const data: SearchData = {
  layers: [
    { layer: "blocks.1", ordinal: 0, units: [[0, "dots"], [7, "zebra, dots"], [17, ""]] },
    { layer: "blocks.2", ordinal: 1, units: [[7, "waves"]] },
  ],
  labels: [["dots", "label/1.html"], ["zebra crossing", "label/2.html"]],
};

const titles = (text: string, limit = 10): string[] => search(data, text, limit).map((hit) => hit.title);

describe("search", () => {
  it("finds a unit by layer and number, first", () => expect(titles("blocks.2 7")).toEqual(["blocks.2 7"]));
  it("finds numbers as a whole", () => expect(titles("7")).toEqual(["blocks.1 7", "blocks.2 7"]));
  it("finds labels before units", () => expect(titles("dots")).toEqual(["dots", "blocks.1 0", "blocks.1 7"]));
  it("needs every word", () => expect(titles("zebra dots")).toEqual(["blocks.1 7"]));
  it("keeps to the limit", () => expect(titles("blocks", 2)).toHaveLength(2));
  it("finds nothing for nothing", () => expect(titles("  ")).toEqual([]));
  it("links to the unit", () => expect(search(data, "blocks.2 7", 1)[0]!.href).toBe("unit/1/7.html"));
});
