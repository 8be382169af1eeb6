// The statistics of a layer's units, as `data/LAYER.js` hands them over, and their order under a query.

export type Value = number | string | boolean | null;

export interface LayerData {
  layer: string;
  ordinal: number;
  /** Labels that units have among those of the highest mean peak. */
  labels: string[];
  /** Places in `labels`, for each unit. */
  labelled: number[][];
  columns: Record<string, Value[]>;
}

/** What a layer page shows: a query and an order. */
export interface View {
  find: string;
  sort: string;
  down: boolean;
  show: string;
  label: string;
}

export const INITIAL: View = { find: "", sort: "unit", down: false, show: "", label: "" };

interface Condition {
  column: string;
  operator: string;
  value: number;
}

interface Query {
  words: string[];
  conditions: Condition[];
  unknown: string[];
}

const CONDITION = /^([a-z_]\w*)(<=|>=|<|>|=)(-?\d*\.?\d+(?:e-?\d+)?)$/i;

/** Splits `dots ratio>1 selectivity>=0.5` into words and conditions on columns. */
export function parseQuery(text: string, columns: readonly string[]): Query {
  const query: Query = { words: [], conditions: [], unknown: [] };
  for (const part of text.toLowerCase().split(/\s+/).filter(Boolean)) {
    const match = CONDITION.exec(part);
    if (!match) query.words.push(part);
    else if (columns.includes(match[1]!)) {
      query.conditions.push({ column: match[1]!, operator: match[2]!, value: Number(match[3]) });
    } else query.unknown.push(match[1]!);
  }
  return query;
}

function holds(value: Value | undefined, condition: Condition): boolean {
  const found = typeof value === "boolean" ? Number(value) : value;
  if (typeof found !== "number") return false;
  switch (condition.operator) {
    case "<": return found < condition.value;
    case "<=": return found <= condition.value;
    case ">": return found > condition.value;
    case ">=": return found >= condition.value;
    default: return found === condition.value;
  }
}

/** Rows that match a view, in its order; rows without a value come last, equal ones by unit. */
export function arrange(data: LayerData, view: View): { rows: number[]; unknown: string[] } {
  const columns = data.columns;
  const units = (columns["unit"] ?? []) as number[];
  const words = (columns["words"] ?? []) as string[];
  const query = parseQuery(view.find, Object.keys(columns));
  const label = view.label ? data.labels.indexOf(view.label) : -1;
  const rows = units
    .map((_, row) => row)
    .filter((row) => {
      if (view.label && !data.labelled[row]?.includes(label)) return false;
      const text = (words[row] ?? "").toLowerCase();
      const number = String(units[row]);
      return (
        query.words.every((word) => text.includes(word) || number === word) &&
        query.conditions.every((condition) => holds(columns[condition.column]?.[row], condition))
      );
    });
  const values = columns[view.sort] ?? units;
  const sign = view.down ? -1 : 1;
  rows.sort((a, b) => {
    const [x, y] = [values[a] ?? null, values[b] ?? null];
    if (x === y) return units[a]! - units[b]!;
    if (x === null) return 1;
    if (y === null) return -1;
    return x < y ? -sign : sign;
  });
  return { rows, unknown: query.unknown };
}

/** A view as the hash of an address; the initial view has none. */
export function toHash(view: View): string {
  const parts = new URLSearchParams();
  if (view.find) parts.set("find", view.find);
  if (view.sort !== INITIAL.sort || view.down) parts.set("sort", (view.down ? "-" : "") + view.sort);
  if (view.show) parts.set("show", view.show);
  if (view.label) parts.set("label", view.label);
  const text = parts.toString();
  return text && `#${text}`;
}

/** The view that a hash stands for; what it does not name is as at first. */
export function fromHash(hash: string): View {
  const parts = new URLSearchParams(hash.replace(/^#/, ""));
  const sort = parts.get("sort") ?? INITIAL.sort;
  const show = parts.get("show") ?? "";
  return {
    find: parts.get("find") ?? "",
    sort: sort.replace(/^-/, ""),
    down: sort.startsWith("-"),
    show: ["synthetic", "patches"].includes(show) ? show : "",
    label: parts.get("label") ?? "",
  };
}
