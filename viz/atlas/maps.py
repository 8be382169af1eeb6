"""Where in a photograph a unit is active: masks that dim the rest of it.

A mask is a small grey PNG with transparency on the layer's grid, which the browser enlarges smoothly
over the part of the photograph that the network saw.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pipeline.layers.layer import Layer
from pipeline.networks.network import Network, device_of
from pipeline.stream.probes import Peaks, Probes

__all__ = ["MaskMaker", "has_map"]

DIMMED = 0.72
"""Opacity of the mask where the unit is not active."""

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
        self._masks: dict[tuple[int, int], str] = {}
        self._probes = Probes(network.module, layers, self._keep)

    def __enter__(self) -> MaskMaker:
        self._probes.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._probes.__exit__(None, None, None)

    def masks(self, pixels: Tensor, wanted: Wanted) -> dict[tuple[int, int], str]:
        """The masks of one image.

        Args:
            pixels: (channel, y, x) uint8, the network's input before normalisation.
            wanted: units by the layer's place among `layers`.

        Returns:
            Addresses of the form `data:image/png;base64,...` by (place of the layer, unit).
        """
        self._wanted, self._masks = wanted, {}
        self._probes(self._network.normalise(pixels[None].to(device_of(self._network))))
        return self._masks

    def _keep(self, place: int, peaks: Peaks) -> None:
        for unit in self._wanted.get(place, ()):
            self._masks[place, unit] = _mask(peaks.view[0, unit].float().cpu())


def _mask(plane: Tensor) -> str:
    """A mask of one map (y, x): clear at its maximum, opaque at its minimum and where it is not above 0.

    Where nothing is above 0, only the minimum is opaque.
    """
    low, high = plane.amin(), plane.amax()
    if high > 0:
        low = low.clamp(min=0)
    share = ((plane - low) / (high - low).clamp(min=1e-30)).clamp(0, 1) if high > low else plane * 0 + 1
    alpha = (255 * DIMMED * (1 - share)).round().to(torch.uint8).numpy()
    picture = Image.fromarray(np.dstack([np.zeros_like(alpha), alpha]), "LA")
    file = io.BytesIO()
    picture.save(file, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode("ascii")
