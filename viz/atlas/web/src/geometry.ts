// Where the cells of a grid are, and which of them are in view.

/** A grid of equal cells, in pixels. */
export interface Geometry {
  columns: number;
  width: number;
  pitchX: number;
  pitchY: number;
  height: number;
}

/** Columns as CSS's `repeat(auto-fill, minmax(least, 1fr))` makes them. */
export function columnsOf(available: number, least: number, gap: number): { columns: number; width: number } {
  const columns = Math.max(1, Math.floor((available + gap) / (least + gap)));
  return { columns, width: Math.max(0, (available - (columns - 1) * gap) / columns) };
}

export function geometryOf(
  available: number,
  least: number,
  gap: { x: number; y: number },
  cellHeight: (width: number) => number,
  count: number,
): Geometry {
  const { columns, width } = columnsOf(available, least, gap.x);
  const cell = cellHeight(width);
  const rows = Math.ceil(count / columns);
  return {
    columns,
    width,
    pitchX: width + gap.x,
    pitchY: cell + gap.y,
    height: rows ? rows * (cell + gap.y) - gap.y : 0,
  };
}

/** The cells, from `first` up to `end`, of the rows between two heights. */
export function cellsBetween(grid: Geometry, top: number, bottom: number, count: number): { first: number; end: number } {
  const row = (height: number): number => Math.floor(height / grid.pitchY);
  const first = Math.min(count, Math.max(0, row(top)) * grid.columns);
  const end = Math.min(count, Math.max(0, row(bottom) + 1) * grid.columns);
  return { first, end: Math.max(first, end) };
}

export function placeOf(grid: Geometry, cell: number): { x: number; y: number } {
  return { x: (cell % grid.columns) * grid.pitchX, y: Math.floor(cell / grid.columns) * grid.pitchY };
}
