"""Draw a page of a contact sheet: for each unit, its renderings beside real patches.

    draw_page((cell, ...), text) -> image

The content comes from `viz.sheets.cells` and `viz.sheets.pages`.
"""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw

from viz.sheets.content import FACET_LETTERS, Cell, PageText, Synthetic, Tile
from viz.sheets.layout import COLUMNS, CellLayout, PageLayout, Rect, lay_out_page
from viz.sheets.palette import EMPTY, FAINT, INK, PAPER, SOFT_INK
from viz.sheets.plot import draw_plot
from viz.sheets.typography import fit_text, font, readable_number, wrap_text

__all__ = ["draw_page"]

FACT_WIDTH = 520
"""Maximum width of a value in the header, in pixels."""

FACT_GAP = 88
"""Distance between the facts in the header, in pixels."""


def draw_page(
    cells: Sequence[Cell], text: PageText, columns: int = COLUMNS, proportion: float | None = None
) -> Image.Image:
    """Draw a page.

    Args:
        cells: at least one.
        text: header and footer.
        columns: of cells.
        proportion: height over width of a page for print; None for one as long as its cells.
    """
    layout = lay_out_page(len(cells), columns, proportion)
    page = Image.new("RGB", (layout.width, layout.height), PAPER)
    pen = ImageDraw.Draw(page)
    _draw_header(pen, layout.header, text)
    for cell, place in zip(cells, layout.cells, strict=True):
        _draw_title(pen, cell, place.title)
        _draw_synthetic(page, pen, cell.synthetic, cell.tiles, place.synthetic)
        draw_plot(page, pen, cell, place.plot)
        _draw_tiles(page, pen, cell, place)
    _draw_footer(pen, layout, text)
    return page


def _draw_header(pen: ImageDraw.ImageDraw, place: Rect, text: PageText) -> None:
    """Draw title and subtitle, and the facts in columns below them."""
    face = font("SemiBold", 68)
    title = fit_text(text.title, face, place.width)
    pen.text((place.left - 3, place.top + 56), title, INK, face, anchor="ls")
    after = place.left + face.getlength(title) + 28
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
    """Draw a rule, the title and subtitle on the left and the note on the right."""
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
    page: Image.Image,
    pen: ImageDraw.ImageDraw,
    synthetic: Synthetic | None,
    tiles: Sequence[Tile],
    place: Rect,
) -> None:
    """Draw the renderings of a unit, or an empty slot marked `not rendered`.

    Where the patches say from which of them they were made, each rendering gets its letter.
    """
    if synthetic is None:
        pen.rectangle(_inclusive(place), fill=EMPTY)
        _draw_dashed_border(pen, place)
        x, y = place.left + place.width // 2, place.top + place.height // 2
        pen.text((x, y), "not rendered", SOFT_INK, font("Regular", 22), anchor="mm")
        return
    spots = _split_slot(place, len(synthetic.pictures))
    lettered = any(tile.facets for tile in tiles)
    for spot in spots[len(synthetic.pictures) :]:
        pen.rectangle(_inclusive(spot), fill=EMPTY)
    for picture, spot, letter in zip(synthetic.pictures, spots, FACET_LETTERS, strict=False):
        resized = picture.resize((spot.width, spot.height), Image.Resampling.LANCZOS)
        page.paste(resized, (spot.left, spot.top))
        if lettered:
            _draw_letters(pen, spot, letter)
    if synthetic.mark:
        face, words = font("SemiBold", 20), synthetic.mark
        right, top = place.left + round(face.getlength(words)) + 24, place.bottom - 36
        pen.rectangle((place.left, top, right, place.bottom - 1), fill=INK)
        pen.text((place.left + 12, top + 25), words, PAPER, face, anchor="ls")


def _split_slot(place: Rect, count: int) -> list[Rect]:
    """Return the whole slot for one picture, its quarters for up to four."""
    if count == 1:
        return [place]
    gap = 6
    side = (place.width - gap) // 2
    return [
        Rect(place.left + column * (side + gap), place.top + row * (side + gap), side, side)
        for row in (0, 1)
        for column in (0, 1)
    ]


def _draw_dashed_border(pen: ImageDraw.ImageDraw, place: Rect) -> None:
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
    """Return (left, top, right, bottom) with inclusive ends, as Pillow draws rectangles."""
    return place.left, place.top, place.right - 1, place.bottom - 1


def _draw_tiles(page: Image.Image, pen: ImageDraw.ImageDraw, cell: Cell, place: CellLayout) -> None:
    """Draw the patches with label and activation below each, and empty slots where there is no patch."""
    for i, (spot, caption) in enumerate(zip(place.tiles, place.captions, strict=True)):
        if i >= len(cell.tiles):
            pen.rectangle(_inclusive(spot), fill=EMPTY)
            continue
        tile = cell.tiles[i]
        page.paste(tile.picture.resize((spot.width, spot.height)), (spot.left, spot.top))
        if tile.facets:
            _draw_letters(pen, spot, tile.facets)
        label = fit_text(tile.label, font("Medium", 19), caption.width)
        pen.text((caption.left, caption.top + 22), label, INK, font("Medium", 19), anchor="ls")
        pen.text(
            (caption.left, caption.top + 43),
            readable_number(tile.activation),
            SOFT_INK,
            font("Regular", 18),
            anchor="ls",
        )


def _draw_letters(pen: ImageDraw.ImageDraw, place: Rect, letters: str) -> None:
    """Draw letters in the upper left corner of a picture."""
    face = font("SemiBold", 18)
    right = place.left + round(face.getlength(letters)) + 11
    pen.rectangle((place.left, place.top, right, place.top + 23), fill=PAPER)
    pen.text((place.left + 5, place.top + 18), letters, INK, face, anchor="ls")


def _draw_footer(pen: ImageDraw.ImageDraw, layout: PageLayout, text: PageText) -> None:
    """Draw the legend on the left and the colophon on the right."""
    place = layout.footer
    pen.rectangle((place.left, place.top, place.right - 1, place.top + 1), fill=FAINT)
    face = font("Regular", 22)
    right = font("Medium", 22)
    room = place.width - right.getlength(text.colophon) - 120
    for i, line in enumerate(wrap_text(text.legend, face, room, 3)):
        pen.text((place.left, place.top + 44 + i * 32), line, SOFT_INK, face, anchor="ls")
    pen.text((place.right, place.top + 44), text.colophon, INK, right, anchor="rs")
