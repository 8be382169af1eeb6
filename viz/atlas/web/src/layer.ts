// The layer page: sort, filter and switch the grid of units, which Python has written in full.

import { loadScript, make } from "./dom";
import { arrange, fromHash, INITIAL, toHash, type LayerData, type View } from "./table";
import { WindowedGrid } from "./windowed";

const SORTS: [string, string][] = [
  ["unit", "number"],
  ["max", "highest peak"],
  ["mean", "mean peak"],
  ["std", "standard deviation"],
  ["min", "lowest peak"],
  ["p50", "median peak"],
  ["p90", "90th percentile"],
  ["p99", "99th percentile"],
  ["p999", "99.9th percentile"],
  ["active_fraction", "active fraction"],
  ["selectivity", "selectivity"],
  ["precision", "label precision"],
  ["ratio", "synthetic / real"],
];

const SHOWS: [string, string][] = [
  ["", "both"],
  ["synthetic", "synthetic"],
  ["patches", "patches"],
];

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

function choice(name: string, options: [string, string][]): HTMLSelectElement {
  return make("select", { "aria-label": name }, ...options.map(([value, title]) => make("option", { value }, title)));
}

function makeControls(place: HTMLElement, table: LayerData): Controls {
  const known = (name: string): boolean => table.columns[name]?.some((value) => value !== null) ?? false;
  const labels: [string, string][] = table.labels.map((label) => [label, label]);
  const controls: Controls = {
    find: make("input", {
      type: "search",
      placeholder: "dots ratio>1 selectivity>=0.2",
      "aria-label": "Filter: words of names and labels, and conditions such as ratio>1",
      autocomplete: "off",
      spellcheck: "false",
    }),
    label: choice("Label", [["", "all"], ...labels]),
    sort: choice("Sort by", SORTS.filter(([name]) => known(name))),
    direction: make("button", { type: "button" }),
    show: choice("Show", SHOWS),
    status: make("p", { class: "note", role: "status" }),
  };
  const named = (title: string, control: HTMLElement): HTMLElement => make("label", {}, make("span", {}, title), control);
  place.replaceChildren(
    named("Filter", controls.find),
    ...(labels.length ? [named("Label", controls.label)] : []),
    named("Sort by", controls.sort),
    controls.direction,
    ...(known("ratio") ? [named("Show", controls.show)] : []),
    controls.status,
  );
  return controls;
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

export async function openLayer(place: HTMLElement, list: HTMLElement): Promise<void> {
  const items = [...list.children] as HTMLElement[];
  const grid = new WindowedGrid(list, items);
  let data: LayerData | undefined;
  window.atlas = (found) => (data = found);
  await loadScript(place.dataset["script"]!);
  if (!data) return;
  const table = data;
  const controls = makeControls(place, table);
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

  controls.find.addEventListener("input", () => change({ find: controls.find.value }));
  controls.label.addEventListener("change", () => change({ label: controls.label.value }));
  controls.sort.addEventListener("change", () => change({ sort: controls.sort.value, down: controls.sort.value !== "unit" }));
  controls.direction.addEventListener("click", () => change({ down: !view.down }));
  controls.show.addEventListener("change", () => change({ show: controls.show.value }));
  window.addEventListener("hashchange", follow);
  follow();
}
