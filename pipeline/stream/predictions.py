"""The highest outputs of the last layer for each image, where that has no positions.

They are what a classifier predicts. Whether the layer is one is not asked here: that depends on names,
which parts do not.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from pipeline.layers.layer import Layer

__all__ = ["KEPT_CLASSES", "Predictions"]

KEPT_CLASSES = 5
"""Classes kept of each image."""

_RESERVED = 4096
"""Images that there is room for at first."""

_SUM_TOLERANCE = 1e-3
"""Outputs that are not negative and whose sum is this close to 1 are probabilities already."""


class Predictions:
    """Collects the highest outputs of a layer, batch by batch.

    Args:
        layer: the last of the probed layers.
    """

    def __init__(self, layer: Layer) -> None:
        self._kept = min(KEPT_CLASSES, layer.units) if layer.grid_h * layer.grid_w == 1 else 0
        self._images = 0
        self._columns: tuple[Tensor, ...] = ()

    def add(self, outputs: Tensor) -> None:
        """Add a batch.

        Args:
            outputs: (image, unit) float32; of equal ones the lower unit comes first.
        """
        if not self._kept or not len(outputs):
            return
        rows = slice(self._images, self._images + len(outputs))
        self._reserve(rows.stop, outputs.device)
        ranked = outputs.sort(dim=1, descending=True, stable=True)
        units, scores = ranked.indices[:, : self._kept], ranked.values[:, : self._kept]
        likely = _probabilities(outputs).gather(1, units)
        for column, values in zip(self._columns, (units, scores, likely), strict=True):
            column[rows] = values
        self._images = rows.stop

    def _reserve(self, images: int, device: torch.device) -> None:
        """Make room, seldom: small arrays that stay after each batch would split the memory it frees."""
        if self._columns and len(self._columns[0]) >= images:
            return
        longer = tuple(
            torch.empty((max(_RESERVED, 2 * images), self._kept), dtype=dtype, device=device)
            for dtype in (torch.int32, torch.float32, torch.float32)
        )
        for new, old in zip(longer, self._columns, strict=False):
            new[: self._images] = old[: self._images]
        self._columns = longer

    def columns(self) -> dict[str, pa.Array]:
        """The columns that `PART_IMAGES` has for them; none for a layer with positions."""
        if not self._images:
            return {}
        units, scores, likely = (column[: self._images].cpu().numpy() for column in self._columns)
        offsets = pa.array(np.arange(0, units.size + 1, self._kept, dtype=np.int32))
        return {
            name: pa.ListArray.from_arrays(offsets, pa.array(values.reshape(-1)))
            for name, values in (("classes", units), ("scores", scores), ("probabilities", likely))
        }


def _probabilities(outputs: Tensor) -> Tensor:
    """(image, unit) float64: the softmax of the outputs, or the outputs where they are probabilities."""
    exact = outputs.double()
    given = ((exact >= 0).all(1) & ((exact.sum(1) - 1).abs() < _SUM_TOLERANCE))[:, None]
    return torch.where(given, exact, exact.softmax(1))
