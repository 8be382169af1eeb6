"""How long does an atlas take to build, how large is it, and how fast are its pages?

    python -m bench.atlas [--units 512 4096] [--images 500] [--keep FOLDER]

An index of one layer is made for each number of units: convolutions with random weights over crops of the
demo's photographs, resized to 500 x 375 pixels, with the noise of a camera. A unit sees 95 x 95 of 224 x
224 pixels, and has nine patches and one rendering (a photograph with more contrast). Measured are:

- build: seconds of `build_atlas` with activation maps, and the size of the folder;
- first paint: from the navigation to the first contentful paint of the layer's page, opened from disk;
- frame: time between animation frames while the page is scrolled by 240 pixels a frame, median and worst;
- sort: from the change of the order to the second frame after it;
- filter: likewise, from a letter that is typed to the filter.

The browser is a headless Chromium without a graphics processor, in a window of 1280 x 800 pixels; of three
rounds the middle one counts. Targets: a layer of 512 units under 30 MB, built in under 60 s on two cores;
first paint under 1 s.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import astuple, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageEnhance
from torch import nn

from pipeline.config import RunConfig
from pipeline.data.demo_photographs import PHOTOGRAPHS, read_photograph
from pipeline.images.preprocess import Preprocess
from pipeline.networks.network import Network
from pipeline.query.index import open_index
from pipeline.runs.run import run_index
from tests.fixtures.browser import open_browser, why_not
from tests.fixtures.renders import rendered
from viz.atlas.build import build_atlas
from viz.render.table import merge_renders

SIZE = (500, 375)
"""Width and height of most of ImageNet's photographs, in pixels."""

NOISE = 9.0
"""Standard deviation of the noise: JPEG files of quality 92 are then as large as those of ImageNet."""

SIDE = 224
RENDERING = 192
LAYER = "3"

ROUNDS = 3

COLUMNS = (
    *("units", "build, s", "again, s", "MB", "kB/unit"),
    *("first paint, ms", "frame, ms", "worst, ms", "sort, ms", "filter, ms"),
)

SCROLL = """
async (frames) => {
  const times = [];
  let last = await new Promise(requestAnimationFrame);
  for (let frame = 0; frame < frames; frame++) {
    window.scrollBy({ top: 240, behavior: "instant" });
    const now = await new Promise(requestAnimationFrame);
    times.push(now - last);
    last = now;
  }
  return times;
}
"""

CHANGE = """
async ([selector, value, event]) => {
  const element = document.querySelector(selector);
  window.scrollTo({ top: 0, behavior: "instant" });
  await new Promise(requestAnimationFrame);
  await new Promise(requestAnimationFrame);
  const start = performance.now();
  element.value = value;
  element.dispatchEvent(new Event(event, { bubbles: true }));
  await new Promise(requestAnimationFrame);
  await new Promise(requestAnimationFrame);
  return performance.now() - start;
}
"""

PAINT = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? null"


@dataclass(frozen=True, slots=True)
class Timing:
    """What the browser needed for the page of a layer, in milliseconds."""

    paint: float
    frame: float
    worst: float
    sort: float
    find: float


def write_photographs(folder: Path, count: int) -> list[Image.Image]:
    """Write JPEG files in a folder for each label; returns them decoded."""
    rng = np.random.default_rng(0)
    originals = [(photo.label, read_photograph(photo)) for photo in PHOTOGRAPHS]
    pictures = []
    for number in range(count):
        label, original = originals[number % len(originals)]
        picture = cut(original, rng)
        path = folder / label / f"{number:05}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path, quality=92)
        pictures.append(picture)
    return pictures


def cut(original: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A random box of at least 60 % of a photograph, or its mirror image, with noise."""
    scale = min(original.width / SIZE[0], original.height / SIZE[1]) * rng.uniform(0.6, 1)
    width, height = (int(side * scale) for side in SIZE)
    left = int(rng.integers(original.width - width + 1))
    top = int(rng.integers(original.height - height + 1))
    picture = original.crop((left, top, left + width, top + height)).resize(SIZE, Image.Resampling.LANCZOS)
    pixels = np.asarray(picture).astype(np.float32)[:, :: int(rng.choice((-1, 1)))]
    noisy = pixels + rng.normal(0, NOISE, pixels.shape).astype(np.float32)
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


def make_network(units: int) -> Network:
    """A layer of 14 x 14 positions that see 95 x 95 pixels."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = nn.Sequential(
            nn.Conv2d(3, 48, 7, stride=4, padding=3),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2, padding=1),
            nn.Conv2d(48, units, 3, stride=2, padding=5, dilation=5),
        )
    preprocess = Preprocess(SIDE, SIDE, 256, mean=(127.0,) * 3, std=(64.0,) * 3)
    return Network.from_module(module, preprocess, name="random")


def add_renderings(out: Path, units: int, pictures: list[Image.Image]) -> None:
    """One rendering for each unit."""
    with open_index(out) as index:
        fingerprint = index.run["fingerprint"]
    rng = np.random.default_rng(1)
    (out / "renders").mkdir()
    rows = []
    box = {"box_left": 0.0, "box_top": 0.0, "box_right": float(RENDERING), "box_bottom": float(RENDERING)}
    for unit in range(units):
        picture = pictures[int(rng.integers(len(pictures)))]
        left, top = int(rng.integers(SIZE[0] - RENDERING)), int(rng.integers(SIZE[1] - RENDERING))
        crop = picture.crop((left, top, left + RENDERING, top + RENDERING))
        row = rendered(
            float(rng.uniform(0.8, 2.5)),
            layer=LAYER,
            unit=unit,
            width=RENDERING,
            height=RENDERING,
            index_fingerprint=fingerprint,
            **box,
        )
        ImageEnhance.Color(ImageEnhance.Contrast(crop).enhance(1.4)).enhance(1.6).save(out / row.file)
        rows.append(row)
    merge_renders(out, rows)


def make_index(folder: Path, units: int, images: int) -> tuple[Path, Network]:
    """Index photographs with a layer of so many units."""
    pictures = write_photographs(folder / "photographs", images)
    network = make_network(units)
    out = folder / "index"
    config = RunConfig(
        data=(str(folder / "photographs"),),
        out=out,
        network="random",
        layers=(LAYER,),
        top=64,
        compile="off",
    )
    run_index(config, network=network)
    add_renderings(out, units, pictures)
    return out, network


def measure_page(page: Any, address: str) -> Timing:
    """Open a layer's page and measure it."""
    page.goto(address)
    page.wait_for_selector("#controls select")
    paint = None
    while paint is None:
        paint = page.evaluate(PAINT)
    times = page.evaluate(SCROLL, 120)
    sort = page.evaluate(CHANGE, ["#controls select", "max", "change"])
    find = page.evaluate(CHANGE, ["#controls input", "c", "input"])
    return Timing(paint, median(times), max(times), sort, find)


def measure_browser(front: Path, ordinal: int) -> Timing:
    """The middle of several rounds, each in a fresh context."""
    address = (front.parent / f"layer/{ordinal}.html").resolve().as_uri()
    rounds = []
    with open_browser() as browser:
        for _ in range(ROUNDS):
            context = browser.new_context(viewport={"width": 1280, "height": 800})
            rounds.append(measure_page(context.new_page(), address))
            context.close()
    return Timing(*(median(values) for values in zip(*map(astuple, rounds), strict=True)))


def run_case(folder: Path, units: int, images: int) -> str:
    """Make, build and measure one index; returns the row of the table."""
    out, network = make_index(folder, units, images)
    with open_index(out) as index:
        started = time.perf_counter()
        summary = build_atlas(index, network=network)
        seconds = time.perf_counter() - started
        started = time.perf_counter()
        build_atlas(index, network=network)
        again = time.perf_counter() - started
        ordinal = index.layer(LAYER).ordinal
    cells = [f"{units:,}", f"{seconds:.1f}", f"{again:.1f}"]
    cells += [f"{summary.size / 1e6:.1f}", f"{summary.size / units / 1e3:.1f}"]
    if why_not():
        return f"| {' | '.join([*cells, *'-----'])} |"
    found = measure_browser(summary.page, ordinal)
    cells += [f"{found.paint:.0f}", f"{found.frame:.1f}"]
    cells += [f"{value:.0f}" for value in (found.worst, found.sort, found.find)]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.atlas", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--units", type=int, nargs="+", default=[512, 4096])
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--keep", type=Path, help="make everything in this folder, and leave it")
    given = parser.parse_args()
    print(f"| {' | '.join(COLUMNS)} |")
    print("|" + "---|" * len(COLUMNS))
    with tempfile.TemporaryDirectory() as temporary:
        for units in given.units:
            folder = (given.keep or Path(temporary)) / str(units)
            print(run_case(folder, units, given.images), flush=True)
    if reason := why_not():
        print(f"\nThe pages were not opened: {reason}.")


if __name__ == "__main__":
    main()
