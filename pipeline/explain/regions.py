"""Where in a photograph the units of layers without positions are driven: gradient times activation.

For a unit u of a vector layer and the maps a of the last layer with positions before it, the region is the
sum over channels of a * du/da at each position (Selvaraju et al. 2017, arXiv:1610.02391, weight channels
by the mean gradient instead; where the layers between are linear the two differ only in that mean).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from pipeline.errors import LayerError
from pipeline.explain.graph import forward_with_graph, tensor_view
from pipeline.layers.layer import Layer

__all__ = ["region_maps"]

Map = npt.NDArray[np.float32]


def region_maps(
    module: nn.Module, layers: Sequence[Layer], batch: Tensor, wanted: Mapping[str, Sequence[int]]
) -> dict[tuple[str, int], Map]:
    """Maps for units of layers without positions.

    Args:
        module: the network, frozen and in evaluation mode.
        layers: all layers of the index, in forward order.
        batch: (1, channel, y, x), normalised.
        wanted: units by the name of their layer.

    Returns:
        (y, x) float32 over the grid of the last layer with known positions that drives the unit's layer, by
        layer and unit. Nothing where there is none, or no gradient flows between them.
    """
    found: dict[tuple[str, int], Map] = {}
    for layer in layers:
        units = wanted.get(layer.name, ())
        grids = [each for each in layers if each.ordinal < layer.ordinal and _has_positions(each)]
        if not units or layer.grid_h * layer.grid_w > 1 or not grids:
            continue
        try:
            *before, output = forward_with_graph(module, (*grids, layer), batch)
        except LayerError:
            continue
        scores = tensor_view(layer, output)[0, :, 0, 0]
        place = _last_driving(scores[units[0]], before)
        if place is None:
            continue
        grid, tensor = grids[place], before[place]
        activations = tensor_view(grid, tensor)[0].detach().float()
        for unit in units:
            (gradient,) = torch.autograd.grad(scores[unit], tensor, retain_graph=True)
            slope = tensor_view(grid, gradient)[0].float()
            found[layer.name, unit] = (activations * slope).sum(0).cpu().numpy().astype(np.float32)
    return found


def _has_positions(layer: Layer) -> bool:
    return layer.grid_h * layer.grid_w > 1 and layer.positions != "unknown"


def _last_driving(score: Tensor, before: Sequence[Tensor]) -> int | None:
    """The place of the last tensor that a score depends on; the outputs of side branches do not count."""
    for place in range(len(before) - 1, -1, -1):
        (gradient,) = torch.autograd.grad(score, before[place], retain_graph=True, allow_unused=True)
        if gradient is not None:
            return place
    return None
