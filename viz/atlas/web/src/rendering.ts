// Rendering on request: the form on a unit's page, and the renderings that wait or climb.

import { make } from "./dom";
import { describe, hasEnded, Trace, type Progress } from "./trace";

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 300;
const HEIGHT = 60;
const JSON_HEADERS = { accept: "application/json" };

async function reason(response: Response): Promise<string> {
  return (await response.text()).trim() || `the server answered ${response.status}`;
}

function chart(): { svg: SVGElement; line: SVGElement } {
  const svg = document.createElementNS(SVG, "svg");
  const line = document.createElementNS(SVG, "path");
  const attributes = { class: "trace", viewBox: `-2 -2 ${WIDTH + 4} ${HEIGHT + 4}`, role: "img", "aria-label": "Score by step" };
  for (const [name, value] of Object.entries(attributes)) svg.setAttribute(name, value);
  svg.append(line);
  return { svg, line };
}

/** Shows a rendering until it has ended. */
function follow(item: HTMLElement, jobs: string, number: string, title: string): void {
  const trace = new Trace();
  const { svg, line } = chart();
  const picture = make("img", { alt: "The picture so far", width: 192, height: 192, hidden: true });
  const bar = make("progress", { max: 1, value: 0, "aria-label": `Progress of ${title}` });
  const status = make("p", { class: "note", role: "status" });
  const cancel = make("button", { type: "button" }, "Cancel");
  const text = make("div", {}, make("b", {}, title), status, bar, svg, cancel);
  item.replaceChildren(picture, text);
  cancel.addEventListener("click", () => {
    cancel.disabled = true;
    void fetch(`${jobs}/${number}/cancel`, { method: "POST", headers: JSON_HEADERS }).then(async (response) => {
      if (!response.ok) status.textContent = await reason(response);
    });
  });
  const events = new EventSource(`${jobs}/${number}/events`);
  events.onmessage = (event: MessageEvent<string>) => {
    const progress = JSON.parse(event.data) as Progress;
    trace.add(progress);
    status.textContent = describe(progress);
    bar.max = Math.max(1, progress.steps);
    bar.value = progress.step;
    line.setAttribute("d", trace.path(WIDTH, HEIGHT, progress.steps));
    if (progress.picture) {
      picture.src = progress.picture;
      picture.hidden = false;
    }
    if (!hasEnded(progress)) return;
    events.close();
    cancel.remove();
    item.dataset["state"] = progress.state;
    if (progress.state !== "done") return;
    window.scrollTo({ top: 0, behavior: "instant" }); // where the page shows it then
    location.reload();
  };
  events.onerror = () => {
    if (events.readyState === EventSource.CLOSED) status.textContent = "the server cannot be reached";
  };
}

async function ask(form: HTMLFormElement, list: HTMLElement): Promise<void> {
  const jobs = form.dataset["jobs"]!;
  const status = form.querySelector("[role=status]")!;
  const fields = new FormData(form);
  const body = new URLSearchParams([...fields].map(([name, value]) => [name, String(value)]));
  const response = await fetch(form.action, { method: "POST", headers: JSON_HEADERS, body });
  if (!response.ok) {
    status.textContent = await reason(response);
    return;
  }
  status.textContent = "";
  const { job } = (await response.json()) as { job: number };
  const item = make("li", { "data-job": job });
  list.append(item);
  follow(item, jobs, String(job), `${fields.get("recipe")}, ${fields.get("objective")}, seed ${fields.get("seed") || 0}`);
}

export function addRendering(form: HTMLFormElement, list: HTMLElement): void {
  const jobs = form.dataset["jobs"]!;
  for (const item of list.querySelectorAll<HTMLElement>("[data-job]")) {
    follow(item, jobs, item.dataset["job"]!, item.dataset["title"] ?? "");
  }
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    ask(form, list).catch(() => (form.querySelector("[role=status]")!.textContent = "the server cannot be reached"));
  });
}
