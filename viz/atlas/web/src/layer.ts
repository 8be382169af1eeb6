// The layer page: sort, filter and switch the grid of units, which Python has written in full.

import { loadScript, make } from "./dom";
import { arrange, fromHash, toHash, type LayerData, type View } from "./table";

const SORTS: [string, string][] = [
  ["unit", "number"],
  ["max", "highest peak"],
  ["mean", "mean peak"],
  ["std", "standard deviation"],
  ["p50", "median peak"],
  ["p99", "99th percentile"],
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

export async function openLayer(controls: HTMLElement, grid: HTMLElement): Promise<void> {
  let data: LayerData | undefined;
  window.atlas = (found) => (data = found);
  await loadScript(controls.dataset["script"]!);
  if (!data) return;
  const table = data;
  const items = [...grid.children] as HTMLElement[];
  const rendered = table.columns["ratio"]?.some((value) => value !== null) ?? false;

  const find = make("input", {
    type: "search",
    placeholder: "dots ratio>1 selectivity>=0.2",
    "aria-label": "Filter: words of names and labels, and conditions such as ratio>1",
    autocomplete: "off",
    spellcheck: "false",
  });
  const sort = make("select", { "aria-label": "Sort by" });
  for (const [name, title] of SORTS) {
    if (table.columns[name]?.some((value) => value !== null)) sort.append(make("option", { value: name }, title));
  }
  const direction = make("button", { type: "button" });
  const show = make("select", { "aria-label": "Show" });
  for (const [name, title] of SHOWS) show.append(make("option", { value: name }, title));
  const status = make("p", { class: "note", role: "status" });
  controls.append(
    make("label", {}, make("span", {}, "Filter"), find),
    make("label", {}, make("span", {}, "Sort by"), sort),
    direction,
    ...(rendered ? [make("label", {}, make("span", {}, "Show"), show)] : []),
    status,
  );

  let view: View = fromHash(location.hash);

  function draw(): void {
    const { rows, unknown } = arrange(table, view);
    const kept = new Set(rows);
    const fragment = document.createDocumentFragment();
    for (const row of rows) fragment.append(items[row]!);
    items.forEach((item, row) => (item.hidden = !kept.has(row)));
    items.forEach((item, row) => kept.has(row) || fragment.append(item));
    grid.append(fragment);
    if (view.show) document.body.dataset["show"] = view.show;
    else delete document.body.dataset["show"];
    if (find.value !== view.find) find.value = view.find;
    sort.value = view.sort;
    show.value = view.show;
    direction.textContent = view.down ? "\u2193" : "\u2191";
    direction.setAttribute("aria-label", view.down ? "highest first" : "lowest first");
    direction.title = view.down ? "highest first" : "lowest first";
    status.textContent =
      (unknown.length ? `There is no statistic ${unknown.join(", ")}. ` : "") +
      (rows.length === items.length ? "" : `${rows.length.toLocaleString("en")} of ${items.length.toLocaleString("en")} units`);
  }

  function change(next: Partial<View>): void {
    view = { ...view, ...next };
    history.replaceState(null, "", toHash(view) || location.pathname + location.search);
    draw();
  }

  find.addEventListener("input", () => change({ find: find.value }));
  sort.addEventListener("change", () => change({ sort: sort.value, down: sort.value !== "unit" }));
  direction.addEventListener("click", () => change({ down: !view.down }));
  show.addEventListener("change", () => change({ show: show.value }));
  window.addEventListener("hashchange", () => {
    if (/^#u\d+$/.test(location.hash)) return;
    view = fromHash(location.hash);
    draw();
  });
  if (!/^#u\d+$/.test(location.hash)) draw();
  else {
    view = fromHash("");
    draw();
    document.getElementById(location.hash.slice(1))?.scrollIntoView({ block: "center" });
  }
}
