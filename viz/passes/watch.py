"""Hooks that show a pass's activations and end it where nothing more is needed."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor, nn

from pipeline.errors import LayerError
from pipeline.layers.layer import Layer, unit_view
from pipeline.networks.extra_modules import find_module
from pipeline.networks.hooks import ForwardHook, StopForward, add_hooks, run_until_stopped
from pipeline.networks.network import Network
from viz.canvas import Canvas, Crop
from viz.objectives.objective import View

__all__ = ["PASS_IMAGES", "Watch"]

PASS_IMAGES = 8
"""Images that go through the network together on the CPU: beyond that nothing is gained, and the
bits change at 16."""


PASS_IMAGES_CUDA = 256
"""Likewise on a GPU."""


class _Pass(threading.local):
    """What the pass under way in this thread has given; outside of a pass nothing is wanted.

    Args:
        wanted: names of the layers to keep.
        views: those kept so far.
    """

    wanted: frozenset[str] = frozenset()

    def __init__(self) -> None:
        self.views: dict[str, View] = {}


class Watch:
    """Forward passes that end at the last of the watched layers and give back all of them.

    Args:
        network: in eval mode, parameters frozen.
        layers: in forward order.
        canvas: the window that pictures show; gives the views their place in the whole grid, and
            its crops are made.
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

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._hooks.close()

    def __call__(self, pictures: Tensor, names: Sequence[str] = ()) -> dict[str, View]:
        """Show pictures to the network.

        Args:
            pictures: (image, channel, y, x) on 0..255.
            names: of the watched layers that are wanted; all for none.

        Returns:
            The wanted layers' activations by name.

        Raises:
            LayerError: when a watched layer did not run.
        """
        wanted = frozenset(names) or frozenset(layer.name for layer in self.layers)
        batch = self.network.normalise(pictures).contiguous(memory_format=torch.channels_last)
        self._pass.views, self._pass.wanted = {}, wanted
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
            if layer.name not in wanted:
                return
            values = unit_view(layer, output)
            last = len(views) + 1 >= len(wanted)
            # What runs on may overwrite its input in place.
            views.setdefault(layer.name, View(values if last else values.clone(), top, left))
            if len(views) == len(wanted):
                raise StopForward

        return keep


def _cropped(crop: Crop) -> ForwardHook:
    """A hook that passes on only a part of its module's output."""
    return lambda module, inputs, output: crop(output)
