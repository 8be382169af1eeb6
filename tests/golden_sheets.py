"""Golden pictures of sheets; `make golden` writes them anew, then look at them before committing.

They are kept at a third of their size, and compared with a tolerance: fonts are rasterised a little
differently by every FreeType.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from fixtures.small_index import build_index
from PIL import Image

from pipeline.query.index import open_index
from viz.sheets.cells import gather_cells
from viz.sheets.draw import Cell, PageText, Synthetic, Tile, draw_page

FOLDER = Path(__file__).parent / "golden"

SCALE = 3

TEXT = PageText(
    title="blocks.1",
    subtitle="shapes",
    facts=(("Dataset", "photographs"), ("Units", "0 to 5"), ("Page", "1 of 1")),
    legend="How to read this page, in a sentence that is long enough to be broken in two. " * 3,
    colophon="maxact",
)


def from_index() -> Image.Image:
    """Real patches, histograms and a unit that never fires, straight from an index."""
    with tempfile.TemporaryDirectory() as folder, open_index(build_index(Path(folder))) as index:
        layer = index.layer("blocks.1")
        return draw_page(gather_cells(index, layer, [0, 3, 4, 11], {}), TEXT)


def with_renderings() -> Image.Image:
    """Every state of the synthetic slot, long names, few patches, negative and huge numbers."""
    warm, cold = _gradient((250, 200, 40), 67), _gradient((20, 90, 200), 40)
    tiles = tuple(Tile(_gradient((40 * i, 30, 90), 120), f"label {i}", 9.5 - i) for i in range(9))
    long = tuple(Tile(warm, "a label much longer than its patch", 12345.6) for _ in range(9))
    return draw_page(
        [
            Cell("unit 0", "disc 8/9", "active in 4 %", tiles, 9.5, Synthetic((warm,), 17.2)),
            Cell("unit 1", "", "", tiles[:4], 9.5, Synthetic((warm, cold, warm), 3.0)),
            Cell("unit 2", "", "", tiles, 9.5, Synthetic((cold,), -4.0, "failed: weak")),
            Cell("a class whose name goes on and on", "unit 3, and more", "active in 99 %", long,
                 12345.6, Synthetic((cold, warm), 99999.0), ((-5000.0, 0.0, 9), (0.0, 9000.0, 2))),
            Cell("unit 4", "never active", "", (), 0.0, None, ((0.0, 0.0, 48),)),
        ],
        TEXT,
    )  # fmt: skip


def _gradient(colour: tuple[int, int, int], side: int) -> Image.Image:
    ramp = np.linspace(0.2, 1, side)[:, None, None] * np.linspace(1, 0.6, side)[None, :, None]
    return Image.fromarray((ramp * np.array(colour)).clip(0, 255).astype(np.uint8))


PICTURES: dict[str, Callable[[], Image.Image]] = {
    "sheet-from-index": from_index,
    "sheet-with-renderings": with_renderings,
}


def draw(name: str) -> Image.Image:
    """A picture as it is kept."""
    page = PICTURES[name]()
    return page.resize((page.width // SCALE, page.height // SCALE), Image.Resampling.BOX)
