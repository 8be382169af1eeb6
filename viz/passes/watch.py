"""Forward passes that return activations of some layers, and end at the last of them."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any, Self

import torch
from torch import Tensor, nn

from pipeline.errors import LayerError
from pipeline.layers.layer import Layer, unit_view
from pipeline.networks.addresses import RunCounter
from pipeline.networks.extra_modules import find_module
from pipeline.networks.hooks import ForwardHook, StopForward, add_hooks, run_until_stopped
from pipeline.networks.network import Network
from viz.canvas import Canvas, Crop
from viz.objectives.objective import View

__all__ = ["PASS_IMAGES", "Watch"]

PASS_IMAGES = 8
"""Images per pass on the CPU: more are not faster, and from 16 on the results differ in their last
bits."""


PASS_IMAGES_CUDA = 256
"""Images per pass on a GPU."""


class _Pass(threading.local):
    """The state of the current pass in this thread; outside a pass, no layer is wanted.

    Args:
        wanted: names of the layers to return.
        views: activations of those that have run.
        runs: of the modules.
    """

    wanted: frozenset[str] = frozenset()

    def __init__(self) -> None:
        self.views: dict[str, View] = {}
        self.runs = RunCounter()


class Watch:
    """Runs forward passes that end at the last of the watched layers, and returns their activations.

    Its hooks are registered while the context is open.

    Args:
        network: in eval mode, parameters frozen.
        layers: in forward order.
        canvas: the window that the pictures show, which determines the position of the views in
            the whole grid, and its crops; None for the whole input.
    """

    def __init__(self, network: Network, layers: Sequence[Layer], canvas: Canvas | None) -> None:
        self.network = network
        self.layers = tuple(layers)
        self.canvas = canvas
        self._pass = _Pass()
        self._hooks = ExitStack()

    def __enter__(self) -> Self:
        self._hooks = add_hooks(forward=self._hooked())
        return self

    def __exit__(self, *exception: object) -> None:
        self._hooks.close()

    def __call__(self, pictures: Tensor, names: Sequence[str] = ()) -> dict[str, View]:
        """Run the network on pictures.

        Args:
            pictures: (image, channel, y, x) on 0..255.
            names: of the layers to return; empty for all watched layers.

        Returns:
            Activations by layer name.

        Raises:
            LayerError: if one of these layers did not run.
        """
        wanted = frozenset(names) or frozenset(layer.name for layer in self.layers)
        batch = self.network.normalise(pictures).contiguous(memory_format=torch.channels_last)
        self._pass.views, self._pass.wanted = {}, wanted
        self._pass.runs.clear()
        try:
            run_until_stopped(self.network.module, batch)
        finally:
            views = self._pass.views
            self._pass.views, self._pass.wanted = {}, frozenset()
        for name in wanted:
            if name not in views:
                raise LayerError(f"{name} did not run in a forward pass of the network")
        return views

    def _hooked(self) -> Iterator[tuple[nn.Module, ForwardHook]]:
        module = self.network.module
        for crop in self.canvas.crops if self.canvas else ():
            yield find_module(module, crop.module), _cropped(crop)
        for layer in self.layers:
            yield find_module(module, layer.module), self._hook(layer)

    def _hook(self, layer: Layer) -> ForwardHook:
        top = self.canvas.grid_top if self.canvas else 0
        left = self.canvas.grid_left if self.canvas else 0

        def keep(module: Any, inputs: Any, output: Any) -> None:
            views, wanted = self._pass.views, self._pass.wanted
            if layer.name not in wanted or not self._pass.runs.is_meant(layer.name, layer.run):
                return
            values = unit_view(layer, output)
            last = len(views) + 1 >= len(wanted)
            # If the pass continues, the next module may change its input in place.
            views.setdefault(layer.name, View(values if last else values.clone(), top, left))
            if len(views) == len(wanted):
                raise StopForward

        return keep


def _cropped(crop: Crop) -> ForwardHook:
    """A hook that replaces the output of its module by a crop."""
    return lambda module, inputs, output: crop(output)
