"""Where the places lie at which maps and masks are compared: a grid over the network's input.

A mask is sampled at the pixel of the original that lies under each place. A map is interpolated linearly
between the centres of its positions' receptive fields, as in network dissection (Bau et al. 2017,
arXiv:1704.05796, section 2.2); beyond the outermost centres it is continued with its edge.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.images.preprocess import Preprocess
from pipeline.layers.layer import Layer

__all__ = ["MAX_SIDE", "Places", "interpolation", "place_grid"]

MAX_SIDE = 112
"""Rows and columns of places, at most: half of an input of 224 pixels, as the paper has them."""

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Places:
    """Rows and columns of places.

    Args:
        preprocess: of the network.
        y: (row,) float64, centres in pixels of the input.
        x: (column,) float64.
    """

    preprocess: Preprocess
    y: npt.NDArray[np.float64]
    x: npt.NDArray[np.float64]

    @property
    def count(self) -> int:
        """Number of places."""
        return len(self.y) * len(self.x)

    def pixels(self, width: int, height: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Rows and columns of the pixels of an upright original of that size under the places."""
        placed = self.preprocess.placement(width, height)
        rows = np.floor((self.y + placed.top) * placed.scale_y).astype(np.int64)
        columns = np.floor((self.x + placed.left) * placed.scale_x).astype(np.int64)
        return rows.clip(0, height - 1), columns.clip(0, width - 1)


def place_grid(preprocess: Preprocess) -> Places:
    """Places evenly over the input, at most `MAX_SIDE` a side: every pixel, every second one and so on."""
    return Places(preprocess, _centres(preprocess.height), _centres(preprocess.width))


def _centres(pixels: int) -> npt.NDArray[np.float64]:
    count = -(-pixels // -(-pixels // MAX_SIDE))
    return np.asarray((np.arange(count) + 0.5) * pixels / count, np.float64)


def interpolation(layer: Layer, places: Places) -> tuple[Floats, Floats]:
    """Weights that turn a layer's map into values at the places: rows @ map @ columns.T.

    Args:
        layer: with a grid.
        places: over the input.

    Returns:
        (row, grid y) and (column, grid x) float32; each row adds up to 1.
    """
    return (
        _weights(
            places.y,
            _fields(layer.start_y, layer.stride_y, layer.rf_h, layer.grid_h, places.preprocess.height),
        ),
        _weights(
            places.x,
            _fields(layer.start_x, layer.stride_x, layer.rf_w, layer.grid_w, places.preprocess.width),
        ),
    )


def _fields(start: int, stride: int, field: int, count: int, pixels: int) -> npt.NDArray[np.float64]:
    """Centres of the receptive fields along one axis; of positions that see everything, evenly spread."""
    if not stride:
        return np.asarray((np.arange(count) + 0.5) * pixels / count, np.float64)
    return np.asarray(start + np.arange(count) * stride + field / 2, np.float64)


def _weights(places: npt.NDArray[np.float64], centres: npt.NDArray[np.float64]) -> Floats:
    weights = np.zeros((len(places), len(centres)))
    rows = np.arange(len(places))
    if len(centres) == 1:
        weights[:] = 1
        return weights.astype(np.float32)
    left = (np.searchsorted(centres, places, side="right") - 1).clip(0, len(centres) - 2)
    share = ((places - centres[left]) / (centres[left + 1] - centres[left])).clip(0, 1)
    weights[rows, left] = 1 - share
    weights[rows, left + 1] = share
    return weights.astype(np.float32)
