"""What every position of earlier layers contributes to objectives: gradient times activation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from pipeline.explain.graph import forward_with_graph, tensor_view
from pipeline.layers.layer import Layer
from pipeline.networks.network import Network, device_of
from viz.objectives.objective import Objective, View, evaluate
from viz.passes.fast_ops import QuickConvolutions
from viz.passes.frozen import Folding

__all__ = ["contribution_maps"]


def contribution_maps(
    network: Network,
    layers: Sequence[Layer],
    target: Layer,
    pictures: Tensor,
    objectives: Sequence[Objective],
    *,
    folding: Folding | None = None,
    grid: tuple[int, int] = (0, 0),
) -> Iterator[Tensor]:
    """Yield a map (image, unit, y, x) of each layer, by one pass forward and one backward.

    Args:
        network: in eval mode, frozen.
        layers: in forward order, all before the target.
        target: the layer of the objectives.
        pictures: (image, channel, y, x) on 0..255.
        objectives: one per picture.
        folding: of the network in float32, for faster passes.
        grid: row and column of the target's grid at which the pictures begin, where they are windows.

    Raises:
        LayerError: when a layer did not run, or no gradient flows through it.
    """
    batch = network.normalise(pictures.to(device_of(network)))
    batch = batch.contiguous(memory_format=torch.channels_last)
    with torch.enable_grad(), QuickConvolutions(folding):
        *tensors, last = forward_with_graph(network.module, (*layers, target), batch, from_layers=True)
        scores = evaluate(objectives, {target.name: View(tensor_view(target, last).float(), *grid)})
        slopes: tuple[Tensor | None, ...] = torch.autograd.grad(scores.sum(), tensors, allow_unused=True)
    for layer, tensor, slope in zip(layers, tensors, slopes, strict=True):
        values = tensor_view(layer, tensor).detach().float()
        yield torch.zeros_like(values) if slope is None else values * tensor_view(layer, slope).float()
