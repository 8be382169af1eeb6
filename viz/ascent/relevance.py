"""Which channels of earlier layers drive a unit in its top patches: gradient times activation.

A channel's contribution to an objective is the sum over positions of its activation times the objective's
gradient by it ("gradient * input", Shrikumar et al. 2016, arXiv:1605.01713, at a layer inside). In a network
of ReLUs without biases this is layer-wise relevance propagation with its basic rule (Bach et al. 2015; Ancona
et al. 2018, arXiv:1711.06104). VITAL (Gorgun, Schiele and Fischer, ICCV 2025) weights channels by relevance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from pipeline.layers.layer import Layer
from pipeline.networks.network import Network
from viz.canvas import Canvas
from viz.objectives.objective import Objective
from viz.passes.contribution_maps import contribution_maps as contributions
from viz.passes.frozen import Folding

__all__ = ["contribution_maps", "mean_one", "relevances"]


def relevances(
    network: Network, canvas: Canvas, layers: Sequence[Layer], patches: Tensor, objective: Objective
) -> dict[str, Tensor]:
    """Weights of the channels of some layers by what drives a unit in its top patches.

    Args:
        network: in eval mode, frozen.
        canvas: whose windows the patches are.
        layers: in forward order, up to the unit's own layer at most, in which all channels count alike:
            there only the unit drives itself.
        patches: (patch, channel, y, x) on 0..255.
        objective: of the unit.

    Returns:
        By layer (unit,) weights of mean 1: the positive part of each channel's contribution, averaged over
        patches.

    Raises:
        LayerError: when a layer did not run, or no gradient flows through it.
    """
    target = objective.layers[0]
    before = [layer for layer in layers if layer.name != target.name]
    maps = contribution_maps(network, canvas, before, patches, objective) if before else {}
    weights = {name: mean_one(each.sum((2, 3)).clamp(min=0).mean(0)) for name, each in maps.items()}
    return {layer.name: _or_ones(weights, layer, patches) for layer in layers}


def contribution_maps(
    network: Network,
    canvas: Canvas,
    layers: Sequence[Layer],
    pictures: Tensor,
    objective: Objective,
    folding: Folding | None = None,
) -> dict[str, Tensor]:
    """Compute by layer what every position contributes to an objective, (image, unit, y, x).

    Arguments as of `relevances`; all layers are before the objective's.

    Args:
        network: as of `relevances`.
        canvas: likewise.
        layers: likewise.
        pictures: as patches.
        objective: likewise.
        folding: of the network in float32, for faster passes.
    """
    found = contributions(
        network,
        layers,
        objective.layers[0],
        pictures,
        [objective] * len(pictures),
        folding=folding,
        grid=(canvas.grid_top, canvas.grid_left),
    )
    return {layer.name: each for layer, each in zip(layers, found, strict=True)}


def mean_one(weights: Tensor) -> Tensor:
    """Weights (unit,) over their mean; ones where all are 0."""
    mean = weights.mean()
    return weights / mean if mean > 0 else torch.ones_like(weights)


def _or_ones(weights: Mapping[str, Tensor], layer: Layer, like: Tensor) -> Tensor:
    return weights[layer.name] if layer.name in weights else like.new_ones(layer.units)
