// The layer page: sort, filter and switch the grid of units, which Python has written in full.

import { loadScript, make } from "./dom";
import { arrange, fromHash, INITIAL, toHash, type LayerData, type View } from "./table";
import { WindowedGrid } from "./windowed";

declare global {
  interface Window {
    atlas?: (data: LayerData) => void;
  }
}

const UNIT = /^#u\d+$/;

/** The elements with which a view is changed. */
interface Controls {
  find: HTMLInputElement;
  label: HTMLSelectElement;
  sort: HTMLSelectElement;
  direction: HTMLButtonElement;
  show: HTMLSelectElement;
  status: HTMLElement;
}

function findControls(form: HTMLFormElement): Controls {
  const named = <T>(name: string): T => form.elements.namedItem(name) as T;
  return {
    find: named("find"),
    label: named("label"),
    sort: named("sort"),
    direction: named("direction"),
    show: named("show"),
    status: form.querySelector("[role=status]")!,
  };
}

function describe(shown: number, all: number, unknown: string[]): string {
  const missing = unknown.length ? `There is no statistic ${unknown.join(", ")}. ` : "";
  return missing + (shown === all ? "" : `${shown.toLocaleString("en")} of ${all.toLocaleString("en")} units`);
}

function showView(view: View, controls: Controls): void {
  if (view.show) document.body.dataset["show"] = view.show;
  else delete document.body.dataset["show"];
  if (controls.find.value !== view.find) controls.find.value = view.find;
  controls.label.value = view.label;
  controls.sort.value = view.sort;
  controls.show.value = view.show;
  const direction = view.down ? "highest first" : "lowest first";
  controls.direction.textContent = view.down ? "\u2193" : "\u2191";
  controls.direction.setAttribute("aria-label", direction);
  controls.direction.title = direction;
}

export async function openLayer(form: HTMLFormElement, list: HTMLElement): Promise<void> {
  const items = [...list.children] as HTMLElement[];
  const grid = new WindowedGrid(list, items);
  let data: LayerData | undefined;
  window.atlas = (found) => (data = found);
  await loadScript(form.dataset["script"]!);
  if (!data) return;
  const table = data;
  const controls = findControls(form);
  controls.label.append(...table.labels.map((label) => make("option", { value: label }, label)));
  let view: View = INITIAL;

  function draw(): void {
    const { rows, unknown } = arrange(table, view);
    showView(view, controls);
    grid.show(rows);
    controls.status.textContent = describe(rows.length, items.length, unknown);
  }

  function change(next: Partial<View>): void {
    view = { ...view, ...next };
    history.replaceState(null, "", toHash(view) || location.pathname + location.search);
    draw();
  }

  function follow(): void {
    const unit = UNIT.test(location.hash);
    view = fromHash(unit ? "" : location.hash);
    draw();
    if (unit) grid.reveal(items.findIndex((item) => `#${item.id}` === location.hash));
  }

  form.addEventListener("submit", (event) => event.preventDefault());
  controls.find.addEventListener("input", () => change({ find: controls.find.value }));
  controls.label.addEventListener("change", () => change({ label: controls.label.value }));
  controls.sort.addEventListener("change", () => change({ sort: controls.sort.value, down: controls.sort.value !== "unit" }));
  controls.direction.addEventListener("click", () => change({ down: !view.down }));
  controls.show.addEventListener("change", () => change({ show: controls.show.value }));
  window.addEventListener("hashchange", follow);
  follow();
}
