"""What the units of earlier layers contribute to an objective: gradient times activation.

The sum over positions of activation * d(objective)/d(activation) is the first-order estimate of how much
the objective would fall if the unit were set to zero (Simonyan et al. 2013, arXiv:1312.6034; "gradient *
input" of Shrikumar et al. 2016, arXiv:1605.01713, at a layer inside). Nothing outside the target's
receptive field contributes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pipeline.explain.graph import forward_with_graph, tensor_view
from pipeline.layers.choose import choose_layers
from pipeline.layers.layer import Layer
from pipeline.networks.network import Network, device_of
from viz.objectives.objective import Objective, View, evaluate
from viz.passes.watch import PASS_IMAGES
from viz.planning.chokepoints import chokepoint_maps

__all__ = ["contributions", "layers_before"]

LEAST_UNITS = 8
"""Units of a layer whose contributions are compared: a correlation over fewer says little."""


def layers_before(network: Network, layer: Layer) -> tuple[Layer, ...]:
    """The layers whose contributions to a layer's units are compared, in forward order.

    They follow from the architecture, not from what was indexed: the usual layers before the layer, or if
    there are none, the maps before it that every path from the input goes through.

    Args:
        network: runs a few trial passes.
        layer: of that network; it is not among those returned.
    """
    usual = [each.name for each in choose_layers(network, receptive_fields=False)]
    names = usual if layer.name in usual else [*usual, layer.name]
    found = choose_layers(network, names, receptive_fields=False)
    place = [each.name for each in found].index(layer.name)
    before = _wide(found[:place])
    if before:
        return before
    maps = list(chokepoint_maps(network, layer.name))
    return _wide(choose_layers(network, maps, receptive_fields=False)) if maps else ()


def contributions(
    network: Network, layers: Sequence[Layer], pictures: Tensor, objectives: Sequence[Objective]
) -> list[Tensor]:
    """Compute the contribution of every unit to the objective of each picture.

    Args:
        network: in eval mode, frozen.
        layers: before that of the objectives, in forward order.
        pictures: (image, channel, y, x) on 0..255, whole inputs.
        objectives: one per picture, of one term each, all of the same layer.

    Returns:
        For each layer (image, unit) float64 on the CPU; zeros where the objective does not depend on it.

    Raises:
        LayerError: when a layer did not run, or no gradient flows through it.
    """
    found: list[list[Tensor]] = [[] for _ in layers]
    for first in range(0, len(pictures), PASS_IMAGES):
        part = slice(first, first + PASS_IMAGES)
        values_of_layers = _one_pass(network, layers, pictures[part], objectives[part])
        for kept, values in zip(found, values_of_layers, strict=True):
            kept.append(values)
    return [torch.cat(each) for each in found]


def _wide(layers: Sequence[Layer]) -> tuple[Layer, ...]:
    return tuple(layer for layer in layers if layer.units >= LEAST_UNITS)


def _one_pass(
    network: Network, layers: Sequence[Layer], pictures: Tensor, objectives: Sequence[Objective]
) -> list[Tensor]:
    count = len(pictures)
    if count == 1:  # as elsewhere: a pass of one image has other bits than a pass of several
        pictures, objectives = pictures.repeat(2, 1, 1, 1), [*objectives, *objectives]
    target = objectives[0].terms[0].layer
    batch = network.normalise(pictures.to(device_of(network)))
    *tensors, last = forward_with_graph(network.module, (*layers, target), batch)
    scores = evaluate(objectives, {target.name: View(tensor_view(target, last).float())})
    slopes: tuple[Tensor | None, ...] = torch.autograd.grad(scores.sum(), tensors, allow_unused=True)
    found = []
    for layer, tensor, slope in zip(layers, tensors, slopes, strict=True):
        seen = tensor_view(layer, tensor).detach().double()
        if slope is None:
            found.append(torch.zeros(seen.shape[:2], dtype=torch.float64)[:count])
        else:
            found.append((seen * tensor_view(layer, slope).double()).sum((2, 3)).cpu()[:count])
    return found
