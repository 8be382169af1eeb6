"""Where in a photograph a unit is active: masks that dim the rest of it.

A mask has a pixel for each position of the layer's grid; the browser enlarges it smoothly over the part of
the photograph that the network saw. The masks of a unit's top images lie side by side in one PNG, with
`GUTTER` pixels around each, which repeat its border.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image
from torch import Tensor

from pipeline.layers.layer import Layer
from pipeline.networks.network import Network, device_of
from pipeline.stream.probes import Peaks, Probes

__all__ = ["GUTTER", "Mask", "MaskMaker", "encode_masks", "has_map"]

DIMMED = 0.72
"""Opacity of the mask where the unit is not active."""

GUTTER = 1
"""Pixels between the border of a mask and its neighbour's half of the gap."""

Mask = npt.NDArray[np.uint8]
"""(y, x) opacity, 0 where the unit is most active."""

Wanted = Mapping[int, Sequence[int]]
"""Units by the layer's place among the layers."""


def has_map(layer: Layer) -> bool:
    """Whether a layer has positions that a map can show."""
    return layer.grid_h * layer.grid_w > 1


class MaskMaker:
    """Runs images through the network and keeps the masks of some units; use it as a context manager.

    Args:
        network: that was indexed, in eval mode.
        layers: with a grid, in forward order.
    """

    def __init__(self, network: Network, layers: Sequence[Layer]) -> None:
        self._network = network
        self._layers = layers
        self._wanted: Wanted = {}
        self._masks: dict[tuple[int, int], Mask] = {}
        self._probes = Probes(network.module, layers, self._keep)

    def __enter__(self) -> MaskMaker:
        self._probes.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._probes.__exit__(None, None, None)

    def masks(self, pixels: Tensor, wanted: Wanted) -> dict[tuple[int, int], Mask]:
        """The masks of one image.

        Args:
            pixels: (channel, y, x) uint8, the network's input before normalisation.
            wanted: units by the layer's place among `layers`.

        Returns:
            Masks by (place of the layer, unit).
        """
        self._wanted, self._masks = wanted, {}
        self._probes(self._network.normalise(pixels[None].to(device_of(self._network))))
        return self._masks

    def _keep(self, place: int, peaks: Peaks) -> None:
        for unit in self._wanted.get(place, ()):
            self._masks[place, unit] = _mask(peaks.view[0, unit].float().cpu())


def _mask(plane: Tensor) -> Mask:
    """The mask of one map (y, x): clear at its maximum, opaque at its minimum and where it is not above 0.

    Where nothing is above 0, only the minimum is opaque.
    """
    values = plane.numpy()
    low, high = values.min(), values.max()
    if high > 0:
        low = max(low, 0)
    share = ((values - low) / (high - low)).clip(0, 1) if high > low else np.ones_like(values)
    opacity: Mask = (255 * DIMMED * (1 - share)).round().astype(np.uint8)
    return opacity


def encode_masks(masks: Sequence[Mask | None], height: int, width: int) -> bytes:
    """Encode masks side by side as a PNG; None is clear.

    Args:
        masks: in the order of the images.
        height: rows of a mask.
        width: columns of a mask.
    """
    empty = np.zeros((height, width), np.uint8)
    padded = [np.pad(empty if mask is None else mask, GUTTER, mode="edge") for mask in masks]
    alpha = np.concatenate(padded, axis=1) if padded else empty
    file = io.BytesIO()
    Image.fromarray(np.dstack([np.zeros_like(alpha), alpha]), "LA").save(file, format="PNG", optimize=True)
    return file.getvalue()
