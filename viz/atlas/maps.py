"""Where in a photograph a unit is active: masks that dim the rest of it.

A mask has a pixel for each position of the layer's grid, or of the last grid before a layer without
positions; the browser enlarges it smoothly over the part of the photograph that the network saw. The masks of
a unit's top images lie side by side in one PNG, with `GUTTER` pixels around each, which repeat its border.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image
from torch import Tensor

from pipeline.explain.regions import find_grid, relevance
from pipeline.layers.layer import Layer
from pipeline.networks.network import Network, device_of
from pipeline.stream.probes import Peaks, Probes
from viz.atlas.contours import outline

__all__ = ["GUTTER", "Mask", "MaskMaker", "encode_masks", "regions_of"]

DIMMED = 0.72
"""Opacity of the mask where the unit is not active."""

GUTTER = 1
"""Pixels between the border of a mask and its neighbour's half of the gap."""

Mask = npt.NDArray[np.uint8]
"""(y, x) opacity, 0 where the unit is most active."""

Wanted = Mapping[int, Sequence[int]]
"""Units by the ordinal of their layer."""


class MaskMaker:
    """Runs images through the network and keeps the masks of some units.

    Args:
        network: that was indexed, in eval mode.
        layers: in forward order.
    """

    def __init__(self, network: Network, layers: Sequence[Layer]) -> None:
        self.network, self.layers = network, tuple(layers)
        self._network = network
        self._maps = [layer for layer in layers if layer.grid_h * layer.grid_w > 1]
        found = [(layer, find_grid(network, layer)) for layer in layers if layer not in self._maps]
        self._regions = [(layer, grid) for layer, grid in found if grid is not None]
        self._grids = {layer.ordinal: layer for layer in self._maps}
        self._grids |= {layer.ordinal: grid for layer, grid in self._regions}
        self._wanted: Wanted = {}
        self._masks: dict[tuple[int, int], Mask] = {}
        self._probes = Probes(network.module, self._maps, self._keep)

    def grid(self, layer: Layer) -> tuple[int, int] | None:
        """Height and width of a layer's masks; None if it has none."""
        grid = self._grids.get(layer.ordinal)
        return None if grid is None else (grid.grid_h, grid.grid_w)

    def masks(self, pixels: Tensor, wanted: Wanted) -> dict[tuple[int, int], Mask]:
        """The masks of one image.

        Args:
            pixels: (channel, y, x) uint8, the network's input before normalisation.
            wanted: units by the ordinal of their layer.

        Returns:
            Masks by (ordinal of the layer, unit).
        """
        self._wanted, self._masks = wanted, {}
        image = self._network.normalise(pixels[None].to(device_of(self._network)))
        if any(layer.ordinal in wanted for layer in self._maps):
            with self._probes:
                self._probes(image)
        for layer, grid in self._regions:
            units = wanted.get(layer.ordinal, ())
            planes = relevance(self._network.module, grid, layer, units, image) if units else None
            if planes is not None:
                for unit, plane in zip(units, planes, strict=True):
                    self._masks[layer.ordinal, unit] = _mask(plane.cpu())
        return self._masks

    def _keep(self, place: int, peaks: Peaks) -> None:
        ordinal = self._maps[place].ordinal
        for unit in self._wanted.get(ordinal, ()):
            self._masks[ordinal, unit] = _mask(peaks.view[0, unit].float().cpu())


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


def regions_of(data: bytes, count: int) -> list[str]:
    """The outlines of the regions in which masks are less than half opaque, see `viz.atlas.contours`.

    Args:
        data: a PNG of `encode_masks`.
        count: number of masks.
    """
    with Image.open(io.BytesIO(data), formats=["PNG"]) as file:
        opacity = np.asarray(file)[..., 1] / (255 * DIMMED)
    pitch = opacity.shape[1] // count if count else 0
    inner = slice(GUTTER, -GUTTER)
    found = []
    for number in range(count):
        mask = opacity[inner, number * pitch : (number + 1) * pitch][:, inner]
        found.append(outline(1 - mask, 0.5) if mask.any() else "")
    return found
