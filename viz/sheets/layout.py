"""The layout of a page: rectangles of all its parts.

page
├── header   title, facts
├── cells    in columns, three if no other number is asked for; in each cell
│   ├── title
│   ├── synthetic   the rendering, and below it
│   ├── plot        histogram of the dataset's peaks
│   └── tiles       3 x 3 patches with their captions
└── footer   legend, colophon
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "COLUMNS",
    "PAGE_WIDTH",
    "TILES",
    "CellLayout",
    "PageLayout",
    "Rect",
    "lay_out_page",
    "units_on_page",
]

PAGE_WIDTH = 2400
"""Width of a page of three columns, in pixels; text is still legible at half the size."""

MARGIN = 84
COLUMNS = 3
COLUMN_GAP = 54
ROW_GAP = 50

HEADER_HEIGHT = 222
FOOTER_HEIGHT = 132
"""Heights in pixels, without the margin around the page."""

TILES_PER_ROW = 3
TILES = 9
"""Top images shown for each unit."""

TILE = 120
TILE_GAP = 10
CAPTION_HEIGHT = 48
TITLE_HEIGHT = 60
INNER_GAP = 24


@dataclass(frozen=True, slots=True)
class Rect:
    """A rectangle in pixels.

    Args:
        left: first column.
        top: first row.
        width: number of columns.
        height: number of rows.
    """

    left: int
    top: int
    width: int
    height: int

    @property
    def right(self) -> int:
        """The column after the last."""
        return self.left + self.width

    @property
    def bottom(self) -> int:
        """The row after the last."""
        return self.top + self.height


@dataclass(frozen=True, slots=True)
class CellLayout:
    """Rectangles of a cell; `tiles` and `captions` have `TILES` entries, row by row."""

    whole: Rect
    title: Rect
    synthetic: Rect
    plot: Rect
    tiles: tuple[Rect, ...]
    captions: tuple[Rect, ...]


@dataclass(frozen=True, slots=True)
class PageLayout:
    """Size of a page and rectangles of its parts."""

    width: int
    height: int
    header: Rect
    cells: tuple[CellLayout, ...]
    footer: Rect


def units_on_page(proportion: float) -> int:
    """The number of cells in three columns that a page of a height over width holds."""
    room = round(PAGE_WIDTH * proportion) - _page_height(0)
    return COLUMNS * (room // (_cell_height() + ROW_GAP))


def _page_height(rows: int) -> int:
    return MARGIN + HEADER_HEIGHT + rows * (_cell_height() + ROW_GAP) + FOOTER_HEIGHT + MARGIN * 2 // 3


def lay_out_page(count: int, columns: int = COLUMNS, proportion: float | None = None) -> PageLayout:
    """Compute the layout of a page; its height depends on the number of cells.

    Args:
        count: number of cells, at least 1.
        columns: of cells, which have the same width on every page.
        proportion: height over width of a page that is printed, at whose lower end the footer then is;
            the page must hold the cells, see `units_on_page`.
    """
    width = (PAGE_WIDTH - 2 * MARGIN - (COLUMNS - 1) * COLUMN_GAP) // COLUMNS
    content = PAGE_WIDTH - 2 * MARGIN + (columns - COLUMNS) * (width + COLUMN_GAP)
    rows = -(-count // columns)
    header = Rect(MARGIN, MARGIN, content, HEADER_HEIGHT)
    cells = tuple(
        _lay_out_cell(
            MARGIN + (i % columns) * (width + COLUMN_GAP),
            header.bottom + (i // columns) * (_cell_height() + ROW_GAP),
            width,
        )
        for i in range(count)
    )
    page_width, height = content + 2 * MARGIN, _page_height(rows)
    if proportion is not None:
        height = max(height, round(page_width * proportion))
    footer = Rect(MARGIN, height - MARGIN * 2 // 3 - FOOTER_HEIGHT, content, FOOTER_HEIGHT)
    return PageLayout(page_width, height, header, cells, footer)


def _cell_height() -> int:
    rows = TILES // TILES_PER_ROW
    return TITLE_HEIGHT + rows * (TILE + CAPTION_HEIGHT) + (rows - 1) * TILE_GAP


def _lay_out_cell(left: int, top: int, width: int) -> CellLayout:
    height = _cell_height()
    grid = TILES_PER_ROW * TILE + (TILES_PER_ROW - 1) * TILE_GAP
    side = width - grid - INNER_GAP
    inside = top + TITLE_HEIGHT
    tiles = tuple(
        Rect(
            left + side + INNER_GAP + (i % TILES_PER_ROW) * (TILE + TILE_GAP),
            inside + (i // TILES_PER_ROW) * (TILE + CAPTION_HEIGHT + TILE_GAP),
            TILE,
            TILE,
        )
        for i in range(TILES)
    )
    synthetic = Rect(left, inside, side, side)
    return CellLayout(
        whole=Rect(left, top, width, height),
        title=Rect(left, top, width, TITLE_HEIGHT),
        synthetic=synthetic,
        plot=Rect(left, synthetic.bottom, side, top + height - synthetic.bottom),
        tiles=tiles,
        captions=tuple(Rect(t.left, t.bottom, t.width, CAPTION_HEIGHT) for t in tiles),
    )
