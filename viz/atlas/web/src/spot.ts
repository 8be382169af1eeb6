// The whole photograph of a patch, with the patch outlined and the rest dimmed where the unit is not active.

import { make } from "./dom";

const SVG = "http://www.w3.org/2000/svg";

type Box = [number, number, number, number];

/** What `data-spot` of a patch says, in pixels of the photograph. */
export interface Spot {
  width: number;
  height: number;
  field: Box;
  /** The part that the network saw; only with a mask. */
  seen: Box | undefined;
}

/** Where the masks of a list of patches are: side by side in one picture, with a border around each. */
export interface Masks {
  file: string;
  width: number;
  height: number;
  count: number;
  gutter: number;
}

export function parseSpot(text: string): Spot | undefined {
  const found = text.trim().split(/\s+/).map(Number);
  if ((found.length !== 6 && found.length !== 10) || found.some((number) => !Number.isFinite(number))) return undefined;
  return {
    width: found[0]!,
    height: found[1]!,
    field: found.slice(2, 6) as Box,
    seen: found.length === 10 ? (found.slice(6) as Box) : undefined,
  };
}

export function parseMasks(file: string | undefined, text: string | undefined): Masks | undefined {
  const [width, height, count, gutter] = (text ?? "").split(" ").map(Number);
  if (!file || !width || !height || !count || gutter === undefined) return undefined;
  return { file, width, height, count, gutter };
}

function shape(tag: string, attributes: Record<string, string | number>, ...children: Node[]): SVGElement {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  element.append(...children);
  return element;
}

function within([x, y, width, height]: Box, viewBox: string, name: string, ...children: Node[]): SVGElement {
  return shape("svg", { class: name, x, y, width, height, viewBox, preserveAspectRatio: "none" }, ...children);
}

/** The layers over the photograph: mask, region, outline of the patch. */
function drawing(spot: Spot, masks: Masks | undefined, number: number, region: string | undefined): SVGElement {
  const parts: Node[] = [];
  if (masks && spot.seen) {
    const pitch = masks.width + 2 * masks.gutter;
    const view = `${number * pitch + masks.gutter} ${masks.gutter} ${masks.width} ${masks.height}`;
    const size = { width: masks.count * pitch, height: masks.height + 2 * masks.gutter };
    parts.push(within(spot.seen, view, "mask", shape("image", { href: masks.file, ...size })));
  }
  if (region && masks && spot.seen) {
    const path = shape("path", { d: region, class: "region", "vector-effect": "non-scaling-stroke" });
    parts.push(within(spot.seen, `0 0 ${masks.width} ${masks.height}`, "outline", path));
  }
  const [x, y, width, height] = spot.field;
  parts.push(shape("rect", { class: "field", x, y, width, height, "vector-effect": "non-scaling-stroke" }));
  const view = `0 0 ${spot.width} ${spot.height}`;
  return shape("svg", { viewBox: view, preserveAspectRatio: "none", "aria-hidden": "true" }, ...parts);
}

function open(patch: HTMLAnchorElement, spot: Spot): HTMLElement {
  const item = patch.parentElement!;
  const list = item.parentElement!;
  const masks = parseMasks(list.dataset["maps"], list.dataset["grid"]);
  const photograph = (patch.getAttribute("href") ?? "").replace("image/", "photographs/").replace(/html$/, "webp");
  const picture = make("img", { src: photograph, width: spot.width, height: spot.height, alt: "" });
  const number = [...list.children].indexOf(item);
  const frame = make("span", { class: "frame" }, picture, drawing(spot, masks, number, patch.dataset["region"]));
  const label = patch.querySelector(".word")?.textContent ?? "";
  const key = make("span", { class: "key" }, make("bdi", {}, patch.dataset["key"] ?? ""), label && ", ", make("bdi", {}, label));
  const whole = make("span", { class: "whole", "aria-hidden": "true" }, frame, key);
  item.append(whole);
  if (whole.getBoundingClientRect().right > document.documentElement.clientWidth - 8) whole.classList.add("flipped");
  const { bottom } = whole.getBoundingClientRect();
  const over = bottom - (window.innerHeight - 8);
  if (over > 0 && getComputedStyle(whole).position === "absolute") whole.style.top = `${-over}px`;
  return whole;
}

/** Asks a server for the outlines of what drives the unit in each photograph; files have them in the page. */
function loadRegions(): void {
  for (const list of document.querySelectorAll<HTMLElement>("[data-regions]")) {
    void fetch(list.dataset["regions"]!)
      .then(async (response) => (response.ok ? ((await response.json()) as string[]) : []))
      .then((regions) => {
        list.querySelectorAll<HTMLElement>("a[data-spot]").forEach((patch, number) => {
          if (regions[number]) patch.dataset["region"] = regions[number];
        });
      })
      .catch(() => undefined); // without an outline, the photograph is dimmed all the same
  }
}

/** Shows the photograph of a patch while the pointer or the focus is on it; Escape closes it. */
export function addSpots(): void {
  loadRegions();
  let current: { patch: Element; whole: HTMLElement } | undefined;
  const close = (): void => {
    current?.whole.remove();
    current = undefined;
  };
  const enter = (event: Event): void => {
    const target = event.target instanceof Element ? event.target : null;
    const patch = target?.closest<HTMLAnchorElement>("a[data-spot]");
    if (current && (patch === current.patch || current.whole.contains(target))) return;
    close();
    const spot = patch && parseSpot(patch.dataset["spot"]!);
    if (patch && spot) current = { patch, whole: open(patch, spot) };
  };
  document.addEventListener("pointerover", enter);
  document.addEventListener("focusin", enter);
  document.addEventListener("focusout", close);
  document.addEventListener("keydown", (event) => event.key === "Escape" && close());
}
