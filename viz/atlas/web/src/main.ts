// The script of every page of the atlas. Pages can be read without it.

import { addKeys } from "./keys";
import { openLayer } from "./layer";
import { addPhotograph } from "./photograph";
import { addQuery } from "./query";
import { addRendering } from "./rendering";
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

// What only a server's pages have.
const own = document.getElementById("photograph");
const box = document.getElementById("sql");
const named = document.getElementById("named");
const render = document.getElementById("render-form");
const jobs = document.getElementById("jobs");
if (own instanceof HTMLFormElement) addPhotograph(own);
if (box instanceof HTMLFormElement) addQuery(box, named instanceof HTMLFormElement ? named : null);
if (render instanceof HTMLFormElement && jobs) addRendering(render, jobs);
