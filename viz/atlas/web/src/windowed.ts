// A grid of which only the cells near the view are in the document.

import { cellsBetween, geometryOf, placeOf, type Geometry } from "./geometry";

/** Screens above and below the view whose cells are in the document, so that images load in time. */
const SCREENS_AHEAD = 1;

function pixels(style: CSSStyleDeclaration, name: string): number {
  return Number.parseFloat(style.getPropertyValue(name)) || 0;
}

export class WindowedGrid {
  private order: readonly number[] = [];
  private grid: Geometry | undefined;
  private shown = new Map<number, HTMLElement>();
  private scheduled = false;
  private printing = false;

  /** Takes over a list whose items are all in the document. */
  constructor(
    private readonly list: HTMLElement,
    private readonly items: readonly HTMLElement[],
  ) {
    list.classList.add("windowed");
    const schedule = (): void => this.schedule();
    window.addEventListener("scroll", schedule, { passive: true });
    list.addEventListener("focusin", () => this.update());
    window.addEventListener("beforeprint", () => this.print(true));
    window.addEventListener("afterprint", () => this.print(false));
    new ResizeObserver(() => this.relayout()).observe(list);
    this.show(items.map((_, row) => row));
  }

  /** Shows these items, by their first places, in this order. */
  show(order: readonly number[]): void {
    this.order = order;
    this.relayout();
  }

  /** Lays the cells out again, after their size or order has changed. */
  relayout(): void {
    if (this.printing) return;
    const active = document.activeElement;
    this.shown.clear();
    this.list.replaceChildren();
    this.grid = this.measure();
    this.list.style.height = `${this.grid.height}px`;
    this.update();
    if (active instanceof HTMLElement && this.list.contains(active)) active.focus({ preventScroll: true });
  }

  /** Scrolls so that an item is in the middle of the view, and marks it. */
  reveal(item: number): void {
    const cell = this.order.indexOf(item);
    if (cell < 0 || !this.grid) return;
    for (const each of this.items) each.classList.remove("target");
    this.items[item]!.classList.add("target");
    const top = this.list.getBoundingClientRect().top + window.scrollY + placeOf(this.grid, cell).y;
    window.scrollTo({ top: top - (window.innerHeight - this.grid.pitchY) / 2, behavior: "instant" });
    this.update();
  }

  private measure(): Geometry {
    const style = getComputedStyle(this.list);
    const cellHeight = (width: number): number => {
      const first = this.items[0];
      if (!first) return 0;
      first.style.width = `${width}px`;
      this.list.append(first);
      const height = first.offsetHeight;
      first.remove();
      return height;
    };
    const gap = { x: pixels(style, "column-gap"), y: pixels(style, "row-gap") };
    return geometryOf(this.list.clientWidth, pixels(style, "--cell"), gap, cellHeight, this.order.length);
  }

  private schedule(): void {
    if (this.scheduled) return;
    this.scheduled = true;
    requestAnimationFrame(() => {
      this.scheduled = false;
      this.update();
    });
  }

  private update(): void {
    if (!this.grid || this.printing) return;
    const top = -this.list.getBoundingClientRect().top;
    const ahead = window.innerHeight * SCREENS_AHEAD;
    const count = this.order.length;
    const { first, end } = cellsBetween(this.grid, top - ahead, top + window.innerHeight + ahead, count);
    // The first and the last cell stay, so that Tab leads into the grid; those around the focus, so that
    // it leads on from there.
    const spans: [number, number][] = [[0, Math.min(1, count)], [first, end], [Math.max(0, count - 1), count]];
    const focus = this.focusedCell();
    if (focus >= 0) {
      const around = 2 * this.grid.columns;
      spans.push([Math.max(0, focus - around), Math.min(count, focus + around + 1)]);
    }
    for (const [cell, item] of this.shown) {
      if (spans.some(([from, to]) => cell >= from && cell < to)) continue;
      item.remove();
      this.shown.delete(cell);
    }
    for (const [from, to] of spans) this.insert(from, to);
  }

  private focusedCell(): number {
    const item = document.activeElement?.closest("li");
    return item && item.parentElement === this.list ? Number(item.getAttribute("aria-posinset")) - 1 : -1;
  }

  /** Adds the cells that are missing, so that the document has them in their order. */
  private insert(first: number, end: number): void {
    let next: Element | null = this.list.lastElementChild;
    const place = (item: Element): number => Number(item.getAttribute("aria-posinset")) - 1;
    for (let cell = end - 1; cell >= first; cell--) {
      while (next && place(next) > cell) next = next.previousElementSibling;
      if (this.shown.has(cell)) continue;
      const item = this.prepare(cell);
      if (next) next.after(item);
      else this.list.prepend(item);
      this.shown.set(cell, item);
    }
  }

  private prepare(cell: number): HTMLElement {
    const item = this.items[this.order[cell]!]!;
    const { x, y } = placeOf(this.grid!, cell);
    item.style.width = `${this.grid!.width}px`;
    item.style.translate = `${x}px ${y}px`;
    item.setAttribute("aria-posinset", String(cell + 1));
    item.setAttribute("aria-setsize", String(this.order.length));
    return item;
  }

  /** All cells are in the document while it is printed. */
  private print(on: boolean): void {
    this.list.classList.toggle("windowed", !on);
    this.printing = on;
    if (!on) return this.relayout();
    this.list.style.height = "";
    for (const item of this.items) item.style.width = item.style.translate = "";
    this.list.replaceChildren(...this.order.map((row) => this.items[row]!));
    for (const image of this.list.querySelectorAll("img")) image.loading = "eager";
  }
}
