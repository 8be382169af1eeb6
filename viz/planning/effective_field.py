"""Effective receptive fields: the part of a receptive field that most of the gradient comes from.

The receptive field of a late layer is the whole input, but a unit's gradient falls off like a
Gaussian around its centre (Luo et al. 2016, "Understanding the Effective Receptive Field in Deep
Convolutional Neural Networks"). In EfficientNet-Lite0 95 % of the squared gradient at `blocks.4.2` is
within about 84 of 339 pixels. A patch of that size shows what activates the unit; the whole image
mostly shows its surroundings.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from pipeline.layers.layer import Layer
from pipeline.networks.network import Network, device_of
from viz.objectives.objective import centre, point
from viz.passes.scorer import Scorer
from viz.passes.watch import Watch

__all__ = ["SHARE", "effective_layer", "narrowed"]

SHARE = 0.95
"""Share of the squared gradient inside an effective receptive field."""


def effective_layer(network: Network, layer: Layer, pictures: Tensor, share: float = SHARE) -> Layer:
    """Narrow a layer's receptive field to the effective one, with the same centre.

    Args:
        network: in eval mode, frozen.
        layer: of that network.
        pictures: (image, channel, y, x) uint8 or float on 0..255, in the network's geometry; about
            two dozen photographs are enough.
        share: of the squared gradient inside the field, averaged over pictures, each for another
            unit at the grid's centre.

    Returns:
        The narrowed layer; the layer itself if every position sees the whole input.
    """
    if layer.stride_y < 1 or layer.stride_x < 1:
        return layer
    y, x = centre(layer.grid_h), centre(layer.grid_w)
    units = [(2 * image + 1) * layer.units // (2 * len(pictures)) for image in range(len(pictures))]
    objectives = [point(layer, unit, y, x) for unit in units]
    with Watch(network, [layer], None) as watch:
        scorer = Scorer(watch, precision="fp32")
        _, slope = scorer.gradient(pictures.float().to(device_of(network)), objectives, 0)
    energy = slope.double().square().sum(1).cpu()
    energy /= energy.sum((1, 2), keepdim=True).clamp(min=1e-300)
    box = layer.box(y, x)
    rows = torch.arange(energy.shape[1]) + 0.5 - (box.top + box.bottom) / 2
    columns = torch.arange(energy.shape[2]) + 0.5 - (box.left + box.right) / 2
    ring = torch.maximum(rows.abs()[:, None], columns.abs()[None]).ceil().long()
    held = torch.zeros(int(ring.max()) + 1, dtype=torch.float64)
    held.scatter_add_(0, ring.flatten(), energy.mean(0).flatten())
    inside = held.cumsum(0) >= share * held.sum()
    return narrowed(layer, 2 * int(inside.long().argmax()))


def narrowed(layer: Layer, side: float) -> Layer:
    """A layer with a receptive field of at most `side` pixels and the same centre.

    A pixel is added if the centre would move by half a pixel otherwise.
    """
    height, width = (_fitted(length, side) for length in (layer.rf_h, layer.rf_w))
    return replace(
        layer,
        rf_h=height,
        rf_w=width,
        start_y=layer.start_y + (layer.rf_h - height) // 2,
        start_x=layer.start_x + (layer.rf_w - width) // 2,
    )


def _fitted(length: int, side: float) -> int:
    """The smallest length of the same parity that is at least `side`; at most `length`."""
    wanted = math.ceil(side)
    return min(length, wanted + (length - wanted) % 2)
