"""A page about one photograph: the units of each layer that it drives most.

For each unit it shows where in the photograph the unit is active, the unit's rendering if there is one,
and its top patches.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw

from pipeline.explain.explainer import Explanation, LayerExplanation, UnitResponse
from pipeline.images.decode import open_original
from pipeline.layers.layer import Layer
from pipeline.progress import Reporter, Silent
from pipeline.query.index import Index
from pipeline.query.indexed_images import ShownImages
from viz.render.field import rendered_field
from viz.render.table import read_renders
from viz.sheets.cells import gather_cells
from viz.sheets.content import Cell
from viz.sheets.layout import Rect
from viz.sheets.pages import save_page
from viz.sheets.palette import EMPTY, INK, PAPER, SOFT_INK
from viz.sheets.patches import NEUTRAL
from viz.sheets.spotlight import spotlight
from viz.sheets.typography import fit_text, font, readable_label, readable_number

__all__ = ["draw_explanation", "readable_share"]

COLUMNS = 4
MARGIN, GAP = 56, 28
CELL = 372
"""Width of a cell, in pixels."""

PICTURE = 280
"""Height of the photograph in a cell."""

STRIP = 4
"""Small squares below it: the rendering, if there is one, and top patches."""

CAPTION, TITLE, HEADER = 66, 70, 120


def draw_explanation(
    index: Index, explanation: Explanation, data: bytes, path: Path, *, reporter: Reporter | None = None
) -> Path:
    """Draw an explanation as a PNG.

    Args:
        index: open.
        explanation: with the maps of its units.
        data: the encoded photograph.
        path: the file to write.
        reporter: shown progress.

    Raises:
        SourceError: if the dataset cannot be found, and the index has no thumbnails.
        StoreError: if an image, a rendering or the page cannot be read or written.
    """
    reporter = reporter or Silent()
    photograph = open_original(data)
    small = _fitted(photograph, CELL, PICTURE)
    shown = [layer for layer in explanation.layers if layer.units]
    heights = [TITLE + _rows(layer.units) * (PICTURE + _square() + CAPTION + GAP) for layer in shown]
    width = 2 * MARGIN + COLUMNS * CELL + (COLUMNS - 1) * GAP
    page = Image.new("RGB", (width, 2 * MARGIN + HEADER + sum(heights)), PAPER)
    pen = ImageDraw.Draw(page)
    _draw_header(pen, index, explanation, width - 2 * MARGIN)
    top = MARGIN + HEADER
    images = ShownImages(index, reporter)
    with reporter.task("drawing", len(shown), "layers") as task:
        for layer, height in zip(shown, heights, strict=True):
            cells = _cells(images, layer)
            _draw_layer(page, pen, index, layer, cells, small, top)
            top += height
            task.advance()
    save_page(page, path, f"{explanation.name} in {index.run['network']['name']}", index.run["fingerprint"])
    return path


def readable_share(response: UnitResponse) -> str:
    """How unusual a peak is, such as `higher than 99.8 % of the images`."""
    if response.above_all:
        return "higher than all images"
    share = response.quantile
    if share > 0.5:
        digits = 1 if share < 0.999 else 2
        shown = min(share * 100, 100 - 10.0**-digits)
        return f"higher than {shown:.{digits}f} %"
    return f"higher than {share * 100:.0f} %"


def _cells(images: ShownImages, layer: LayerExplanation) -> list[Cell]:
    index, units = images.index, [response.unit for response in layer.units]
    renders = read_renders(index.out, layer.layer.name, index_fingerprint=index.run["fingerprint"])
    seen = rendered_field(layer.layer, [row for unit in units for row in renders.get(unit, ())])
    return gather_cells(index, seen, units, renders, images)


def _draw_header(pen: ImageDraw.ImageDraw, index: Index, explanation: Explanation, room: int) -> None:
    title = fit_text(readable_label(Path(explanation.name).name), font("SemiBold", 52), room)
    pen.text((MARGIN, MARGIN + 44), title, INK, font("SemiBold", 52), anchor="ls")
    images = index.run["counts"]["images"]
    line = (
        f"The units of {index.run['network']['name']} that this photograph drives most, by the share of "
        f"{images:,} indexed images with a lower peak"
    )
    soft = font("Regular", 24)
    pen.text((MARGIN, MARGIN + 90), fit_text(line, soft, room), SOFT_INK, soft, anchor="ls")


def _draw_layer(
    page: Image.Image,
    pen: ImageDraw.ImageDraw,
    index: Index,
    layer: LayerExplanation,
    cells: Sequence[Cell],
    small: Image.Image,
    top: int,
) -> None:
    right = page.width - MARGIN
    pen.rectangle((MARGIN, top, right - 1, top + 1), fill=INK)
    bold = font("SemiBold", 30)
    pen.text((MARGIN, top + 44), fit_text(layer.layer.name, bold, right - MARGIN), INK, bold, anchor="ls")
    for number, (response, cell) in enumerate(zip(layer.units, cells, strict=True)):
        row, column = divmod(number, COLUMNS)
        left = MARGIN + column * (CELL + GAP)
        down = top + TITLE + row * (PICTURE + _square() + CAPTION + GAP)
        _draw_unit(page, pen, index, layer.layer, response, cell, small, Rect(left, down, CELL, PICTURE))


def _draw_unit(
    page: Image.Image,
    pen: ImageDraw.ImageDraw,
    index: Index,
    layer: Layer,
    response: UnitResponse,
    cell: Cell,
    small: Image.Image,
    place: Rect,
) -> None:
    picture = small if response.map is None else spotlight(small, response.map, index.preprocess)
    pen.rectangle((place.left, place.top, place.right - 1, place.bottom - 1), fill=NEUTRAL)
    page.paste(
        picture,
        (place.left + (CELL - picture.width) // 2, place.top + (PICTURE - picture.height) // 2),
    )
    rendered = cell.synthetic.pictures[:1] if cell.synthetic else ()
    squares = [*rendered, *(tile.picture for tile in cell.tiles)][:STRIP]
    side = _square()
    for number in range(STRIP):
        left, top = place.left + number * (side + 4), place.bottom + 4
        if number < len(squares):
            page.paste(squares[number].resize((side, side), Image.Resampling.LANCZOS), (left, top))
        else:
            pen.rectangle((left, top, left + side - 1, top + side - 1), fill=EMPTY)
    base = place.bottom + 4 + side
    bold, soft = font("SemiBold", 22), font("Regular", 20)
    title = f"{cell.title} \N{MIDDLE DOT} {cell.subtitle}" if cell.subtitle else cell.title
    pen.text((place.left, base + 28), fit_text(title, bold, CELL), INK, bold, anchor="ls")
    fact = f"{readable_number(response.peak)} \N{MIDDLE DOT} {readable_share(response)}"
    pen.text((place.left, base + 55), fit_text(fact, soft, CELL), SOFT_INK, soft, anchor="ls")


def _rows(units: Sequence[UnitResponse]) -> int:
    return -(-len(units) // COLUMNS)


def _square() -> int:
    return (CELL - (STRIP - 1) * 4) // STRIP


def _fitted(photograph: Image.Image, width: int, height: int) -> Image.Image:
    """The photograph as large as fits, with its aspect ratio."""
    scale = min(width / photograph.width, height / photograph.height)
    size = max(1, round(photograph.width * scale)), max(1, round(photograph.height * scale))
    return photograph.resize(size, Image.Resampling.LANCZOS)
