"""Draw one page of a contact sheet: per unit a synthetic image beside the real patches.

    draw_page((cell, ...), text) -> image

Everything is handed in: pictures, numbers and words. `viz.sheets.pages` gathers them from an index.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from viz.sheets.layout import CellLayout, PageLayout, Rect, lay_out_page
from viz.sheets.typography import fit_text, font, readable_number, wrap_text

__all__ = ["Bucket", "Cell", "PageText", "Synthetic", "Tile", "draw_page"]

PAPER = (255, 255, 255)
INK = (24, 26, 30)
SOFT_INK = (98, 102, 110)
FAINT = (214, 212, 206)
SILHOUETTE = (226, 224, 218)
EMPTY = (247, 246, 243)
ACCENT = (196, 62, 28)
"""Whatever is synthetic, and nothing else."""

BAR = 4
"""Width of one column of the silhouette, in pixels."""

FACT_WIDTH = 520
"""Widest value of a fact in the header, in pixels."""

FACT_GAP = 88
"""Between the facts of the header, in pixels."""

Bucket = tuple[float, float, int]
"""Lower edge, upper edge, images: part of a histogram of peaks."""


@dataclass(frozen=True, slots=True)
class Tile:
    """One real patch, square, with its caption."""

    picture: Image.Image
    label: str
    activation: float


@dataclass(frozen=True, slots=True)
class Synthetic:
    """The rendering of a unit: one picture, or up to four facets.

    `activation` was measured on the saved picture; `mark` says in a word why the picture does
    not stand for the unit, and is empty when it does.
    """

    pictures: tuple[Image.Image, ...]
    activation: float
    mark: str = ""


@dataclass(frozen=True, slots=True)
class Cell:
    """Everything shown of one unit; `best` is the dataset's highest peak."""

    title: str
    subtitle: str
    note: str
    tiles: tuple[Tile, ...]
    best: float
    synthetic: Synthetic | None = None
    histogram: tuple[Bucket, ...] = ()


@dataclass(frozen=True, slots=True)
class PageText:
    """The words around the cells; `facts` are pairs of a name and a value."""

    title: str
    subtitle: str
    facts: tuple[tuple[str, str], ...]
    legend: str
    colophon: str


def draw_page(cells: Sequence[Cell], text: PageText) -> Image.Image:
    """Draw a page of at least one cell."""
    layout = lay_out_page(len(cells))
    page = Image.new("RGB", (layout.width, layout.height), PAPER)
    pen = ImageDraw.Draw(page)
    _draw_header(pen, layout.header, text)
    for cell, place in zip(cells, layout.cells, strict=True):
        _draw_title(pen, cell, place.title)
        _draw_synthetic(page, pen, cell.synthetic, place.synthetic)
        _draw_plot(page, pen, cell, place.plot)
        _draw_tiles(page, pen, cell, place)
    _draw_footer(pen, layout, text)
    return page


def _draw_header(pen: ImageDraw.ImageDraw, place: Rect, text: PageText) -> None:
    """A title on the left, its facts in columns under it."""
    face = font("SemiBold", 68)
    pen.text((place.left - 3, place.top + 56), text.title, INK, face, anchor="ls")
    after = place.left + face.getlength(text.title) + 28
    soft = font("Regular", 30)
    subtitle = fit_text(text.subtitle, soft, place.right - after)
    pen.text((after, place.top + 56), subtitle, SOFT_INK, soft, anchor="ls")
    left = float(place.left)
    names, values = font("Regular", 22), font("Medium", 27)
    for name, value in text.facts:
        shown = fit_text(value, values, min(FACT_WIDTH, place.right - left))
        pen.text((left, place.top + 118), name, SOFT_INK, names, anchor="ls")
        pen.text((left, place.top + 154), shown, INK, values, anchor="ls")
        left += max(names.getlength(name), values.getlength(shown)) + FACT_GAP


def _draw_title(pen: ImageDraw.ImageDraw, cell: Cell, place: Rect) -> None:
    """A rule across the cell; the unit on the left, a note on the right."""
    pen.rectangle((place.left, place.top, place.right - 1, place.top + 1), fill=INK)
    base = place.top + 43
    bold, soft = font("SemiBold", 30), font("Regular", 24)
    note = font("Regular", 20)
    pen.text((place.right, base), cell.note, SOFT_INK, note, anchor="rs")
    room = place.width - note.getlength(cell.note) - 24
    title = fit_text(cell.title, bold, room)
    pen.text((place.left, base), title, INK, bold, anchor="ls")
    after = bold.getlength(title) + 14
    subtitle = fit_text(cell.subtitle, soft, room - after) if room > after else ""
    pen.text((place.left + after, base), subtitle, SOFT_INK, soft, anchor="ls")


def _draw_synthetic(
    page: Image.Image, pen: ImageDraw.ImageDraw, synthetic: Synthetic | None, place: Rect
) -> None:
    """The rendering, its facets in quarters, or an empty slot that says so."""
    if synthetic is None:
        pen.rectangle(_inclusive(place), fill=EMPTY)
        _dash_border(pen, place)
        x, y = place.left + place.width // 2, place.top + place.height // 2
        pen.text((x, y), "not rendered", SOFT_INK, font("Regular", 22), anchor="mm")
        return
    spots = _quarters(place, len(synthetic.pictures))
    for spot in spots[len(synthetic.pictures) :]:
        pen.rectangle(_inclusive(spot), fill=EMPTY)
    for picture, spot in zip(synthetic.pictures, spots, strict=False):
        resized = picture.resize((spot.width, spot.height), Image.Resampling.LANCZOS)
        page.paste(resized, (spot.left, spot.top))
    if synthetic.mark:
        face, words = font("SemiBold", 20), synthetic.mark
        right, top = place.left + round(face.getlength(words)) + 24, place.bottom - 36
        pen.rectangle((place.left, top, right, place.bottom - 1), fill=INK)
        pen.text((place.left + 12, top + 25), words, PAPER, face, anchor="ls")


def _quarters(place: Rect, count: int) -> list[Rect]:
    """The whole place for one picture, quarters of it for up to four."""
    if count == 1:
        return [place]
    gap = 6
    side = (place.width - gap) // 2
    return [
        Rect(place.left + column * (side + gap), place.top + row * (side + gap), side, side)
        for row in (0, 1)
        for column in (0, 1)
    ]


def _dash_border(pen: ImageDraw.ImageDraw, place: Rect) -> None:
    left, top, right, bottom = _inclusive(place)
    for start in range(left, right, 16):
        stop = min(start + 7, right)
        pen.line((start, top, stop, top), fill=FAINT, width=2)
        pen.line((start, bottom - 1, stop, bottom - 1), fill=FAINT, width=2)
    for start in range(top, bottom, 16):
        stop = min(start + 7, bottom)
        pen.line((left, start, left, stop), fill=FAINT, width=2)
        pen.line((right - 1, start, right - 1, stop), fill=FAINT, width=2)


def _inclusive(place: Rect) -> tuple[int, int, int, int]:
    """Pillow draws rectangles up to and including their last pixel."""
    return place.left, place.top, place.right - 1, place.bottom - 1


def _draw_plot(page: Image.Image, pen: ImageDraw.ImageDraw, cell: Cell, place: Rect) -> None:
    """The dataset's peaks as a silhouette, their best as a tick, the synthetic one in accent."""
    if cell.synthetic is not None:
        _draw_comparison(pen, cell.synthetic.activation, cell.best, place)
    axis = Rect(place.left, place.top + 56, place.width, place.height - 56 - 34)
    low, high = _plot_range(cell)

    def at(value: float) -> int:
        return round(axis.left + (value - low) / (high - low) * (axis.width - 1))

    for column, height in _silhouette(cell.histogram, low, high, axis.width // BAR):
        left, top = axis.left + column * BAR, axis.bottom - max(2, round(height * axis.height))
        pen.rectangle((left, top, left + BAR - 1, axis.bottom), SILHOUETTE)
    pen.rectangle((axis.left, axis.bottom, axis.right - 1, axis.bottom + 1), fill=FAINT)
    best = at(cell.best)
    pen.rectangle((best - 1, axis.top + 8, best + 1, axis.bottom + 1), fill=INK)
    if cell.synthetic is not None:
        x = at(cell.synthetic.activation)
        pen.rectangle((x - 1, axis.top + 8, x + 1, axis.bottom + 1), fill=ACCENT)
        _draw_dot(page, x, axis.top + 8, 7)
    soft, words = font("Regular", 20), f"best real {readable_number(cell.best)}"
    half = soft.getlength(words) / 2
    middle = min(max(best, place.left + half), place.right - half)
    pen.text((middle, axis.bottom + 28), words, SOFT_INK, soft, anchor="ms")


def _draw_comparison(pen: ImageDraw.ImageDraw, activation: float, best: float, place: Rect) -> None:
    """`1.8x best real` on the left, where the best is positive; the activation on the right."""
    base = place.top + 38
    face = font("Medium", 22)
    pen.text((place.right, base), readable_number(activation), ACCENT, face, anchor="rs")
    if best <= 0 or activation <= 0:
        return
    bold, soft = font("SemiBold", 28), font("Regular", 20)
    ratio = activation / best
    words = f"{ratio:.1f}" if 1 <= ratio < 10 else f"{ratio:.2g}" if ratio < 1 else f"{ratio:,.0f}"
    words += "\N{MULTIPLICATION SIGN}"
    pen.text((place.left, base), words, ACCENT, bold, anchor="ls")
    after = place.left + bold.getlength(words) + 8
    pen.text((after, base), "best real", SOFT_INK, soft, anchor="ls")


def _draw_dot(page: Image.Image, x: int, y: int, radius: int) -> None:
    """A disc with a smooth edge: Pillow's own ellipse has steps."""
    side = 2 * radius + 1
    mask = Image.new("L", (side * 8, side * 8))
    ImageDraw.Draw(mask).ellipse((0, 0, side * 8 - 1, side * 8 - 1), fill=255)
    smooth = mask.resize((side, side), Image.Resampling.BOX)
    page.paste(ACCENT, (x - radius, y - radius), smooth)


def _plot_range(cell: Cell) -> tuple[float, float]:
    values = [cell.best, 0.0]
    if cell.synthetic is not None:
        values.append(cell.synthetic.activation)
    if cell.histogram:
        values.append(cell.histogram[0][0])
    low, high = min(values), max(values)
    spare = (high - low) * 0.04 or 1.0
    return (low - spare if low < 0 else low), high + spare


def _silhouette(
    histogram: Sequence[Bucket], low: float, high: float, columns: int
) -> list[tuple[int, float]]:
    """Heights from 0 to 1, on a logarithmic scale, of the columns that hold any image."""
    counts = [0.0] * columns
    for lower, upper, images in histogram:
        first = (lower - low) / (high - low) * columns
        last = (upper - low) / (high - low) * columns
        start, stop = (
            max(0, math.floor(first)),
            min(columns, max(math.ceil(last), math.floor(first) + 1)),
        )
        for column in range(start, stop):
            overlap = min(last, column + 1) - max(first, column)
            counts[column] += images * (overlap / (last - first) if last > first else 1.0)
    top = math.log1p(max(counts, default=0.0)) or 1.0
    return [(i, math.log1p(count) / top) for i, count in enumerate(counts) if count > 0]


def _draw_tiles(page: Image.Image, pen: ImageDraw.ImageDraw, cell: Cell, place: CellLayout) -> None:
    """The patches, each over its label and its activation; slots without a patch stay faint."""
    for i, (spot, caption) in enumerate(zip(place.tiles, place.captions, strict=True)):
        if i >= len(cell.tiles):
            pen.rectangle(_inclusive(spot), fill=EMPTY)
            continue
        tile = cell.tiles[i]
        page.paste(tile.picture.resize((spot.width, spot.height)), (spot.left, spot.top))
        label = fit_text(tile.label, font("Medium", 19), caption.width)
        pen.text((caption.left, caption.top + 22), label, INK, font("Medium", 19), anchor="ls")
        pen.text(
            (caption.left, caption.top + 43),
            readable_number(tile.activation),
            SOFT_INK,
            font("Regular", 18),
            anchor="ls",
        )


def _draw_footer(pen: ImageDraw.ImageDraw, layout: PageLayout, text: PageText) -> None:
    """How to read the page on the left, where it comes from on the right."""
    place = layout.footer
    pen.rectangle((place.left, place.top, place.right - 1, place.top + 1), fill=FAINT)
    face = font("Regular", 22)
    right = font("Medium", 22)
    room = place.width - right.getlength(text.colophon) - 120
    for i, line in enumerate(wrap_text(text.legend, face, room, 3)):
        pen.text((place.left, place.top + 44 + i * 32), line, SOFT_INK, face, anchor="ls")
    pen.text((place.right, place.top + 44), text.colophon, INK, right, anchor="rs")
