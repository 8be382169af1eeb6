"""Compare images by their features in early layers of a network."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pipeline.layers.layer import Layer
from pipeline.networks.network import Network
from pipeline.query.index import Index
from viz.passes.fast_ops import QuickConvolutions
from viz.passes.watch import Watch

__all__ = ["choose_matched_layers", "feature_loss"]


def choose_matched_layers(index: Index, layer: Layer) -> list[Layer]:
    """Choose two earlier layers with a grid: the first one and the one half-way to `layer`."""
    earlier = [each for each in index.layers if each.ordinal < layer.ordinal and each.grid_h > 1]
    if len(earlier) < 2:
        return earlier
    return [earlier[0], earlier[len(earlier) // 2]]


def feature_loss(network: Network, layers: Sequence[Layer], decoded: Tensor, images: Tensor) -> Tensor:
    """Compute the mean absolute difference of features, relative to their mean absolute value.

    Args:
        network: in eval mode.
        layers: over which the loss is averaged; it is 0 if there are none.
        decoded: (image, channel, y, x) on 0..1; the loss has a gradient with respect to it.
        images: the targets, likewise.
    """
    with QuickConvolutions(), Watch(network, layers, None) as watch:
        with torch.no_grad():
            targets = watch(255 * images)
        found = watch(255 * decoded)
    parts = [
        (found[layer.name].values.float() - targets[layer.name].values.float()).abs().mean()
        / targets[layer.name].values.float().abs().mean().clamp(min=1e-6)
        for layer in layers
    ]
    return torch.stack(parts).mean() if parts else decoded.new_zeros(())
