// The script of every page of the atlas. Pages can be read without it.

import { openLayer } from "./layer";
import { addCopyButtons, addTools, restoreTheme } from "./tools";

restoreTheme();
addTools();
addCopyButtons();
const controls = document.getElementById("controls");
const grid = document.getElementById("units");
if (controls && grid) {
  openLayer(controls, grid).catch((error: unknown) => {
    controls.textContent = error instanceof Error ? error.message : String(error);
  });
}
