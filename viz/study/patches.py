"""Crop images and renderings to the effective receptive field of a layer's units, as all who judge see them.

People (`maxact study`) and networks (`python -m bench.truth`) are shown the same pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Generator, Tensor

from pipeline.choices import Side
from pipeline.images.decode import decode
from pipeline.images.preprocess import Box
from pipeline.layers.layer import Layer
from pipeline.networks.network import Network
from pipeline.query.index import Index, TopImage
from pipeline.query.indexed_images import read_images, sample_image_ids
from viz.inputs.top_images import choose_images
from viz.objectives.objective import centre
from viz.recipes.base import Recipe
from viz.render.measure import open_picture
from viz.render.table import Rendered
from viz.sheets.patches import seen_window

__all__ = ["Patches", "cut"]

CANDIDATES = 256
"""Entries of a unit's list among which different photographs are looked for."""


def cut(picture: Tensor, box: Box) -> Tensor:
    """Crop a box from a picture; a box that reaches over a border is moved inside.

    Args:
        picture: (channel, y, x).
        box: in its pixels.

    Returns:
        (channel, y, x) of the box's size, or of the picture's size if that is smaller.
    """
    rows, columns = (
        _inside(start, end, length)
        for start, end, length in (
            (box.top, box.bottom, picture.shape[1]),
            (box.left, box.right, picture.shape[2]),
        )
    )
    return picture[:, rows, columns]


def _inside(start: float, end: float, length: int) -> slice:
    size = min(max(1, round(end - start)), length)
    first = min(max(round(start), 0), length - size)
    return slice(first, first + size)


class Patches:
    """Patches of an index's images and renderings, for the units of one layer.

    Args:
        index: an open index.
        network: the network that was indexed.
        layer: a layer of the index.
        field: the same layer with its effective receptive field.
    """

    def __init__(self, index: Index, network: Network, layer: Layer, field: Layer) -> None:
        self.index, self.network, self.layer, self.field = index, network, layer, field

    def pictures(self, image_ids: Sequence[int]) -> dict[int, Tensor]:
        """Decode images to the network's input, (channel, y, x) uint8, by image_id."""
        return dict(read_images(self.index, image_ids, partial(decode, preprocess=self.network.preprocess)))

    def strongest(self, unit: int, count: int, side: Side = "high") -> list[TopImage]:
        """Choose a unit's most extreme images on one side, each photograph once."""
        found = self.index.tops(self.layer.name, [unit], n=CANDIDATES, side=side)[unit]
        return choose_images(found, count, per_origin=1)

    def at_peaks(self, images: Sequence[TopImage]) -> list[Tensor]:
        """Crop each image to the patch at the unit's peak."""
        pictures = self.pictures([image.image_id for image in images])
        return [cut(pictures[image.image_id], self._window(image.y, image.x)) for image in images]

    def anywhere(self, count: int, seed: int) -> list[Tensor]:
        """Crop patches at random positions, one from each of up to `count` images."""
        generator = Generator().manual_seed(seed)
        pictures = self.pictures(sample_image_ids(self.index, count))
        grid = self.layer.grid_h, self.layer.grid_w
        return [
            cut(
                picture,
                self._window(*(int(torch.randint(n, (), generator=generator)) for n in grid)),
            )
            for picture in pictures.values()
        ]

    def of_rendering(self, row: Rendered, recipe: Recipe) -> Tensor:
        """Crop the effective receptive field from a rendering of the grid's centre."""
        y, x = centre(self.layer.grid_h), centre(self.layer.grid_w)
        seen, window = self.layer.box(y, x), self._window(y, x)
        height, width = self.network.input_shape[1:]
        top, bottom = _looked_at(
            (window.top, window.bottom),
            (max(seen.top, 0), min(seen.bottom, height)),
            (row.box_top, row.box_bottom),
            recipe.zoom,
        )
        left, right = _looked_at(
            (window.left, window.right),
            (max(seen.left, 0), min(seen.right, width)),
            (row.box_left, row.box_right),
            recipe.zoom,
        )
        picture = open_picture(self.index.out / row.file, self.network.input_shape[0])
        return cut(picture, Box(left, top, right, bottom))

    def _window(self, y: int, x: int) -> Box:
        return seen_window(self.field, y, x, self.network.preprocess)


Span = tuple[float, float]
"""First and last edge along one axis, in pixels."""


def _looked_at(window: Span, seen: Span, recorded: Span, zoom: float) -> Span:
    """Locate the effective receptive field in a rendering, along one axis.

    Args:
        window: the effective field in the input.
        seen: the part of the full receptive field inside the input; if a border cuts it off, its
            middle is not the target's.
        recorded: the box in the picture: the full field, or a smaller one around the target.
        zoom: pixels of the picture per pixel of the input.

    Returns:
        The interval in the picture, not longer than `recorded`.
    """
    length = (recorded[1] - recorded[0]) / zoom
    middle = (window[0] + window[1]) / 2 - seen[0] if length > seen[1] - seen[0] - 1 else length / 2
    half = min(window[1] - window[0], length) / 2
    return recorded[0] + zoom * (middle - half), recorded[0] + zoom * (middle + half)
