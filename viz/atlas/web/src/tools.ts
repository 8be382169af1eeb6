// The tools at the head of every page: search and theme.

import { loadScript, make } from "./dom";
import { search, type SearchData } from "./search";

const THEMES = ["auto", "light", "dark"] as const;
const MOST_HITS = 12;

declare global {
  interface Window {
    atlasSearch?: (data: SearchData) => void;
  }
}

function remember(theme: string): void {
  try {
    localStorage.setItem("maxact-theme", theme);
  } catch {
    // A browser may refuse storage on file://; the theme then lasts for the page.
  }
}

function remembered(): string {
  try {
    return localStorage.getItem("maxact-theme") ?? "auto";
  } catch {
    return "auto";
  }
}

function applyTheme(theme: string): void {
  if (theme === "auto") delete document.documentElement.dataset["theme"];
  else document.documentElement.dataset["theme"] = theme;
}

export function restoreTheme(): void {
  applyTheme(remembered());
}

function addTheme(button: HTMLElement): void {
  const update = (theme: string): void => {
    applyTheme(theme);
    button.textContent = theme;
    button.setAttribute("aria-label", `Colours: ${theme}`);
    button.title = `Colours: ${theme}`;
  };
  update(remembered());
  button.addEventListener("click", () => {
    const next = THEMES[(THEMES.indexOf(remembered() as (typeof THEMES)[number]) + 1) % THEMES.length]!;
    remember(next);
    update(next);
  });
}

function addSearch(input: HTMLInputElement, list: HTMLElement, root: string): void {
  let data: SearchData | undefined;
  let chosen = -1;

  const hits = (): HTMLAnchorElement[] => [...list.querySelectorAll("a")];

  function mark(place: number): void {
    const found = hits();
    chosen = found.length ? (place + found.length) % found.length : -1;
    found.forEach((hit, number) => hit.parentElement!.setAttribute("aria-selected", String(number === chosen)));
    const current = found[chosen];
    if (current) input.setAttribute("aria-activedescendant", current.parentElement!.id);
    else input.removeAttribute("aria-activedescendant");
  }

  function draw(): void {
    const found = data ? search(data, input.value, MOST_HITS) : [];
    list.replaceChildren(
      ...found.map((hit, number) =>
        make(
          "li",
          { role: "option", id: `hit${number}`, "aria-selected": "false" },
          make("a", { href: `${root}/${hit.href}`, tabindex: -1 }, make("bdi", { class: "name" }, hit.title), " ", make("bdi", { class: "word" }, hit.detail)),
        ),
      ),
    );
    if (input.value.trim() && data && !found.length) {
      list.append(make("li", { role: "option", "aria-selected": "false", class: "none" }, "Nothing found"));
    }
    list.hidden = !list.children.length;
    input.setAttribute("aria-expanded", String(!list.hidden));
    mark(found.length ? 0 : -1);
  }

  async function load(): Promise<void> {
    if (data) return;
    window.atlasSearch = (found) => (data = found);
    await loadScript(`${root}/data/search.js`);
    draw();
  }

  input.addEventListener("focus", () => void load());
  input.addEventListener("input", draw);
  input.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown") mark(chosen + 1);
    else if (event.key === "ArrowUp") mark(chosen - 1);
    else if (event.key === "Enter") hits()[chosen]?.click();
    else if (event.key === "Escape") {
      input.value = "";
      draw();
      input.blur();
    } else return;
    event.preventDefault();
  });
  input.addEventListener("blur", () => setTimeout(() => (list.hidden = true), 150));
}

export function addTools(): void {
  const root = document.body.dataset["root"] ?? ".";
  const input = document.getElementById("search");
  const list = document.getElementById("hits");
  const theme = document.getElementById("theme");
  if (input instanceof HTMLInputElement && list) addSearch(input, list, root);
  if (theme) addTheme(theme);
}

/** Buttons that copy the SQL below them. */
export function addCopyButtons(): void {
  for (const button of document.querySelectorAll<HTMLElement>("button.copy")) {
    button.addEventListener("click", () => {
      void navigator.clipboard.writeText(button.nextElementSibling?.textContent ?? "").then(
        () => (button.textContent = "Copied"),
        () => (button.textContent = "Copy failed; select the text"),
      );
    });
  }
}
