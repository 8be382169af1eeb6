"""Run a network and see each probed layer's output once, while it is still what it was.

A probe is a forward hook: it reduces the layer's output to one peak per image and unit at once,
before an in-place ReLU can overwrite it, and hands both to a watcher, which may look up grid
positions while the output is alive. The pass ends at the last probed layer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn

from pipeline.errors import LayerError
from pipeline.layers import Layer, unit_view

__all__ = ["Probes", "Score", "StopForward", "Watcher", "reduce_view"]

Score = Literal["max", "mean"]
"""How a layer's output becomes one number per image and unit: its maximum or its mean over
positions."""

Watcher = Callable[[int, Tensor, Tensor], None]
"""Called once per layer and batch with the layer's index, its peaks (image, unit) float32 and its
output as a view (image, unit, y, x) that is valid only during the call."""


class StopForward(Exception):
    """Ends a forward pass that has shown all that was asked for; never leaves this module."""


def reduce_view(view: Tensor, score: Score) -> Tensor:
    """Peaks of one layer.

    Args:
        view: (image, unit, y, x).
        score: what to keep of the positions.

    Returns:
        (image, unit) float32.
    """
    if view.shape[2:] == (1, 1):
        return view[:, :, 0, 0].float()
    return (view.amax((2, 3)) if score == "max" else view.float().mean((2, 3))).float()


class Probes:
    """Hooks on the probed layers, there while the context is open and removed when it is left.

    Args:
        module: the network, in evaluation mode.
        layers: in forward order.
        watcher: told of every layer's peaks.
        score: how positions are reduced.

    Raises:
        LayerError: when a layer does not exist in the module.
    """

    def __init__(
        self, module: nn.Module, layers: Sequence[Layer], watcher: Watcher, score: Score = "max"
    ) -> None:
        self.module = module
        self.layers = tuple(layers)
        self.watcher = watcher
        self.score: Score = score
        self._handles: list[Any] = []
        self._seen = 0

    def __enter__(self) -> Self:
        try:
            for index, layer in enumerate(self.layers):
                self._handles.append(self._target(layer).register_forward_hook(self._hook(index)))
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._remove()

    def __call__(self, batch: Tensor) -> None:
        """Show one normalised batch (image, channel, y, x) to the network.

        Raises:
            LayerError: when a probed layer did not run.
        """
        self._seen = 0
        try:
            with torch.inference_mode():
                self.module(batch)
        except StopForward:
            return
        if self._seen != len(self.layers):
            raise LayerError(
                f"{len(self.layers) - self._seen} of the {len(self.layers)} probed layers did not "
                "run in a forward pass; choose layers that `maxact layers` lists"
            )

    def _hook(self, index: int) -> Callable[[nn.Module, Any, Any], None]:
        layer = self.layers[index]

        def observe(module: nn.Module, inputs: Any, output: Any) -> None:
            view = unit_view(layer, output)
            self.watcher(index, reduce_view(view, self.score), view)
            self._seen += 1
            if self._seen == len(self.layers):
                raise StopForward

        return observe

    def _target(self, layer: Layer) -> nn.Module:
        try:
            return self.module.get_submodule(layer.module)
        except AttributeError as error:
            raise LayerError(f"the network has no layer {layer.name!r}") from error

    def _remove(self) -> None:
        while self._handles:
            self._handles.pop().remove()
