"""Pages of projections: the top images of a unit in columns, one method per row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from pipeline.file_names import file_name
from pipeline.images.decode import decode
from pipeline.layers.layer import Layer
from pipeline.networks.network import Network
from pipeline.progress import Reporter, Silent
from pipeline.query.index import Index, TopImage
from pipeline.query.indexed_images import ShownImages
from pipeline.query.indexed_network import index_network
from pipeline.query.selection import ALL_UNITS, Patterns, Units
from pipeline.store.files import make_folder
from pipeline.store.leftovers import writing
from viz.inputs.top_images import choose_images
from viz.projections.project import (
    DEFAULT_METHODS,
    Method,
    activation_maps,
    project,
    show_activation,
    show_signed,
)
from viz.sheets.pages import save_page
from viz.sheets.palette import INK, SOFT_INK
from viz.sheets.typography import fit_text, font, readable_label, readable_number

__all__ = ["draw_projections"]

TILE = 176
"""Side of a tile in pixels."""

GAP = 8
MARGIN = 32
HEAD = 56
CAPTION = 22
NAMES = 116
"""Width of the column with the names of the rows, in pixels."""


@dataclass(frozen=True, slots=True)
class _Column:
    """One top image with its tiles, one per row."""

    image: TopImage
    tiles: tuple[Image.Image, ...]


def draw_projections(
    index: Index,
    *,
    layers: Patterns = (),
    units: Units = ALL_UNITS,
    methods: Sequence[Method] = DEFAULT_METHODS,
    images: int = 9,
    network: Network | str | None = None,
    weights: str | Path | None = None,
    reporter: Reporter | None = None,
) -> list[Path]:
    """Draw one PNG per unit into OUT/projections.

    Args:
        index: open.
        layers: names or globs, a plain string is one of them; all layers for none.
        units: numbers, or text such as `0-23`.
        methods: rows, in order.
        images: top images, one a column.
        network, weights: see `pipeline.query.indexed_network.index_network`.
        reporter: shown progress.

    Returns:
        The files, layer by layer, in the order of the units.

    Raises:
        MaxactError: if there is no such layer, unit or network.
        StoreError: if a file cannot be written.
    """
    chosen = index.choose(layers, units)
    network = index_network(index, network=network, weights=weights)
    shown = ShownImages(index, reporter or Silent())
    with writing(index.out):
        return [
            file
            for layer, numbers in chosen
            for file in _draw_layer(shown, network, layer, numbers, methods, images)
        ]


def _draw_layer(
    shown: ShownImages,
    network: Network,
    layer: Layer,
    units: Sequence[int],
    methods: Sequence[Method],
    images: int,
) -> list[Path]:
    """The pages of one layer."""
    index, reporter = shown.index, shown.reporter
    folder = index.out / "projections" / file_name(layer.name)
    make_folder(folder)
    files = []
    with reporter.task(f"project {layer.name}", len(units), "units") as task:
        for unit in units:
            # Images beyond the list, which kept peaks add, have no known position.
            (listed,) = index.tops(layer.name, [unit], n=8 * images).values()
            top = choose_images(listed, images)
            named = f"{layer.name}  {index.unit_name(layer.name, unit)}"
            page = _draw_page(_columns(shown, network, layer, unit, top, methods), named, methods)
            files.append(folder / f"{unit:05}.png")
            title = f"{layer.name} unit {unit} {network.name}"
            save_page(page, files[-1], title, index.run["fingerprint"])
            task.advance()
    return files


def _columns(
    source: ShownImages,
    network: Network,
    layer: Layer,
    unit: int,
    top: Sequence[TopImage],
    methods: Sequence[Method],
) -> list[_Column]:
    """Compute the tiles of each top image."""
    if not top:
        return []
    decoded = dict(source.read((image.image_id for image in top), decode))
    pictures = torch.stack([decoded[image.image_id] for image in top])
    peaks = [(image.y, image.x) for image in top]
    rows = [_patches(pictures, layer, peaks)]
    for method in methods:
        if method == "activation":
            planes = activation_maps(network, layer, [unit] * len(top), pictures)
            shown = [show_activation(*pair) for pair in zip(pictures, planes, strict=True)]
            rows.append([_tile(picture) for picture in shown])
        else:
            slopes = project(network, layer, [unit] * len(top), pictures, peaks, method)
            rows.append(_patches(torch.stack([show_signed(each) for each in slopes]), layer, peaks))
    return [_Column(image, tuple(row[number] for row in rows)) for number, image in enumerate(top)]


def _patches(pictures: Tensor, layer: Layer, peaks: Sequence[tuple[int, int]]) -> list[Image.Image]:
    """Crop each picture to the receptive field of its peak."""
    tiles = []
    height, width = pictures.shape[2:]
    for picture, (y, x) in zip(pictures, peaks, strict=True):
        box = layer.box(y, x)
        rows = slice(max(0, int(box.top)), min(height, int(box.bottom)))
        columns = slice(max(0, int(box.left)), min(width, int(box.right)))
        tiles.append(_tile(picture[:, rows, columns]))
    return tiles


def _tile(picture: Tensor) -> Image.Image:
    """Convert a picture (channel, y, x) uint8 to a square tile."""
    pixels = picture.permute(1, 2, 0).squeeze(2).numpy()
    image = Image.fromarray(pixels).convert("RGB")
    return image.resize((TILE, TILE), Image.Resampling.BICUBIC)


def _draw_page(columns: Sequence[_Column], title: str, methods: Sequence[Method]) -> Image.Image:
    titles = ["image", *methods]
    width = 2 * MARGIN + NAMES + max(1, len(columns)) * (TILE + GAP)
    height = 2 * MARGIN + HEAD + CAPTION + len(titles) * (TILE + GAP)
    page = Image.new("RGB", (width, height), "white")
    pen = ImageDraw.Draw(page)
    bold = font("SemiBold", 26)
    pen.text((MARGIN, MARGIN), fit_text(title, bold, width - 2 * MARGIN), INK, bold)
    top = MARGIN + HEAD + CAPTION
    for row, name in enumerate(titles):
        middle = top + row * (TILE + GAP) + TILE // 2
        pen.text((MARGIN, middle), name, SOFT_INK, font("Medium", 17), anchor="lm")
    for number, column in enumerate(columns):
        left = MARGIN + NAMES + number * (TILE + GAP)
        caption = f"{readable_number(column.image.activation)}  "
        caption += readable_label(column.image.label or "")
        face = font("Regular", 15)
        pen.text((left, top - CAPTION), fit_text(caption, face, TILE), SOFT_INK, face)
        for row, tile in enumerate(column.tiles):
            page.paste(tile, (left, top + row * (TILE + GAP)))
    if not columns:
        pen.text((MARGIN, top), "no image: the unit has the same peak on all", SOFT_INK, font("Regular", 17))
    return page
