// Keys, and the list of them.

import { isTyping, make } from "./dom";

const KEYS: [string, string][] = [
  ["\u2190  k", "previous unit or layer"],
  ["\u2192  j", "next unit or layer"],
  ["u", "up to the layer, or to the front page"],
  ["/", "search all units and labels"],
  ["f", "filter the units of a layer"],
  ["Tab", "next link; the photograph of a patch is shown"],
  ["Esc", "close the photograph, the search or this list"],
  ["?", "this list"],
];

function keyList(): HTMLDialogElement {
  const rows = KEYS.map(([key, what]) =>
    make("div", {}, make("dt", {}, ...key.split("  ").map((each) => make("kbd", {}, each))), make("dd", {}, what)),
  );
  const close = make("button", { type: "button" }, "Close");
  const dialog = make("dialog", { class: "keys", "aria-labelledby": "h-keys" }, make("h2", { id: "h-keys" }, "Keys"), make("dl", {}, ...rows), close);
  close.addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  document.body.append(dialog);
  return dialog;
}

export function addKeys(): void {
  let dialog: HTMLDialogElement | undefined;
  const toggle = (): void => {
    dialog ??= keyList();
    if (dialog.open) dialog.close();
    else dialog.showModal();
  };
  const follow = (selector: string): void => document.querySelector<HTMLAnchorElement>(selector)?.click();
  const focus = (event: Event, selector: string): void => {
    const found = document.querySelector<HTMLElement>(selector);
    if (!found) return;
    event.preventDefault();
    found.focus();
  };
  document.getElementById("help")?.addEventListener("click", toggle);
  document.addEventListener("keydown", (event) => {
    if (isTyping() || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "?") return toggle();
    if (dialog?.open) return;
    switch (event.key) {
      case "ArrowLeft": case "k": return follow("a[rel=prev]");
      case "ArrowRight": case "j": return follow("a[rel=next]");
      case "u": return follow(".bar nav a:last-of-type");
      case "/": return focus(event, "#search");
      case "f": return focus(event, "#controls input");
    }
  });
}
