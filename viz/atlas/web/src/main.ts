// The script of every page of the atlas. Pages can be read without it.

import { addKeys } from "./keys";
import { openLayer } from "./layer";
import { addSpots } from "./spot";
import { addCopyButtons, addTools, restoreTheme } from "./tools";

restoreTheme();
addTools();
addKeys();
addCopyButtons();
addSpots();
const controls = document.getElementById("controls");
const grid = document.getElementById("units");
if (controls instanceof HTMLFormElement && grid) {
  openLayer(controls, grid).catch((error: unknown) => {
    controls.querySelector("[role=status]")!.textContent = error instanceof Error ? error.message : String(error);
  });
}
