"""Forward passes that keep the graph, so that gradients at probed layers can be computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.errors import LayerError
from pipeline.layers.layer import Layer, unit_view
from pipeline.networks.addresses import RunCounter, find_tensor
from pipeline.networks.extra_modules import find_module
from pipeline.networks.hooks import StopForward, add_hooks, run_until_stopped

__all__ = ["forward_with_graph", "tensor_view"]


def forward_with_graph(
    module: nn.Module, layers: Sequence[Layer], batch: Tensor, *, from_layers: bool = False
) -> list[Tensor]:
    """Run a network whose weights are frozen; returns the probed tensors, as parts of the graph.

    The pass ends at the last of the layers. The graph starts at the input. What follows a layer reads a copy
    of its output: an in-place ReLU would otherwise change what the gradient belongs to.

    Args:
        module: in evaluation mode; not changed.
        layers: in forward order.
        batch: (image, channel, y, x), normalised.
        from_layers: the graph starts at those of the layers that no other of them is before, if every layer
            is a whole output; it takes less time and memory, and there is no gradient at the input.

    Raises:
        LayerError: when a layer did not run, or no gradient flows through it.
    """
    from_layers = from_layers and not any(layer.part for layer in layers)
    kept: dict[int, Tensor] = {}
    runs = RunCounter()

    def hook(place: int, layer: Layer) -> Any:
        def keep(_: nn.Module, inputs: Any, output: Any) -> Any:
            if not runs.is_meant(layer.name, layer.run):
                return None
            if from_layers and place < len(layers) - 1 and isinstance(output, Tensor):
                output = output if output.requires_grad else output.detach().requires_grad_(True)
                kept[place] = output
            else:
                kept[place] = _probed(layer, output)
            if len(kept) == len(layers):
                raise StopForward
            return output.clone() if isinstance(output, Tensor) else None

        return keep

    hooks = [(find_module(module, layer.module), hook(place, layer)) for place, layer in enumerate(layers)]
    with torch.enable_grad(), add_hooks(forward=hooks):
        run_until_stopped(module, batch.detach().requires_grad_(not from_layers))
    for place, layer in enumerate(layers):
        if place not in kept:
            raise LayerError(f"{layer.name} did not run in a forward pass")
    return [kept[place] for place in range(len(layers))]


def tensor_view(layer: Layer, tensor: Tensor) -> Tensor:
    """View a tensor of `forward_with_graph`, or its gradient, as (image, unit, y, x)."""
    return unit_view(replace(layer, name=layer.module), tensor)  # the part that the name means is taken


def _probed(layer: Layer, output: Any) -> Tensor:
    tensor = find_tensor(output, layer.part)
    if tensor is None or tensor.grad_fn is None:
        raise LayerError(f"no gradient flows through {layer.name}")
    return tensor
