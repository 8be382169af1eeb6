"""Where in an image a unit without positions is driven from: gradient times activation at the last grid.

The unit's gradient with respect to the last layer that has positions is multiplied by that layer's
activations and summed over its units; what is negative counts as 0 (HiResCAM: Draelos & Carin 2020,
arXiv:2011.08891). Before average pooling and a linear classifier this is the class activation map of Zhou et
al. 2016.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.errors import LayerError, NetworkError
from pipeline.layers.choose import choose_layers
from pipeline.layers.layer import Layer, unit_view
from pipeline.networks.addresses import RunCounter
from pipeline.networks.extra_modules import find_module
from pipeline.networks.hooks import StopForward, add_hooks, run_until_stopped
from pipeline.networks.network import Network, device_of, noise_input

__all__ = ["find_grid", "relevance"]

MOST_GRIDS = 4
"""Layers that are tried, from the last backwards: the positions of a transformer's last block do not reach a
classifier that reads the class token."""


def find_grid(network: Network, layer: Layer) -> Layer | None:
    """The last of the default layers before a layer that has positions on which its units depend.

    Args:
        network: in eval mode.
        layer: with one position.

    Returns:
        The layer; None if there is none, or where the outputs are not plain tensors.
    """
    try:
        defaults = choose_layers(network, receptive_fields=False)
        names = list(dict.fromkeys([*(each.name for each in defaults), layer.name]))
        order = choose_layers(network, names, receptive_fields=False)
    except (LayerError, NetworkError):
        return None
    names = [each.name for each in order]
    if layer.name not in names:
        return None
    before = [each for each in order[: names.index(layer.name)] if each.grid_h * each.grid_w > 1]
    image = noise_input(network, 1).to(device_of(network))
    for grid in before[: -MOST_GRIDS - 1 : -1]:
        planes = relevance(network.module, grid, layer, range(min(layer.units, 8)), image)
        if planes is not None and bool(planes.any()):
            return grid
    return None


def relevance(
    module: nn.Module, grid: Layer, layer: Layer, units: Sequence[int], image: Tensor
) -> Tensor | None:
    """Gradient times activation of some units at a grid, where it is positive.

    Args:
        module: the network, in eval mode.
        grid: with positions, before the layer.
        layer: with one position.
        units: of the layer.
        image: (1, channel, y, x), normalised.

    Returns:
        (unit, y, x) float32 from 0; None where the output of the grid is not a plain tensor, or the layer
        does not depend on it.
    """
    with torch.enable_grad():
        held, found = _run(module, grid, layer, image)
        if held is None or found is None or not found.requires_grad:
            return None
        # Parameters that are trained make a graph as well, which need not lead to the grid.
        slopes = [_slope(found[0, unit, 0, 0], held) for unit in units]
    if all(slope is None for slope in slopes):
        return None
    activations = unit_view(grid, held.detach())
    nothing = torch.zeros_like(held)
    planes = [
        (unit_view(grid, nothing if slope is None else slope) * activations).sum(1)[0] for slope in slopes
    ]
    return torch.stack(planes).float().clamp(min=0).nan_to_num(0)


def _slope(score: Tensor, held: Tensor) -> Tensor | None:
    """The gradient of a score at the grid; None where it does not depend on it."""
    return torch.autograd.grad(score, held, retain_graph=True, allow_unused=True)[0]


def _run(module: nn.Module, grid: Layer, layer: Layer, image: Tensor) -> tuple[Tensor | None, Tensor | None]:
    """The output of the grid, from which gradients are taken, and the view of the layer."""
    kept: dict[str, Tensor] = {}
    runs = RunCounter()

    def hold(_: nn.Module, __: Any, output: Any) -> Tensor | None:
        if not runs.is_meant(grid.name, grid.run) or not isinstance(output, Tensor):
            return None
        kept["grid"] = output.detach().requires_grad_()
        return kept["grid"].clone()  # a layer after it may work in place

    def take(_: nn.Module, __: Any, output: Any) -> None:
        if runs.is_meant(layer.name, layer.run):
            kept["layer"] = unit_view(layer, output)
            raise StopForward

    hooks = [(find_module(module, grid.module), hold), (find_module(module, layer.module), take)]
    with add_hooks(forward=hooks):
        run_until_stopped(module, image)
    return kept.get("grid"), kept.get("layer")
