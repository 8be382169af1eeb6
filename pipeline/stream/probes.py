"""Run a network and see each probed layer's output once, while it is still what it was.

A probe is a forward hook: it reduces the layer's output to one peak per image and unit at once,
before an in-place ReLU can overwrite it, and hands both to a watcher, which may look up grid
positions while the output is alive. The pass ends at the last probed layer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor, nn

from pipeline.choices import Score
from pipeline.errors import LayerError
from pipeline.layers.layer import Layer, unit_view
from pipeline.networks.extra_modules import find_module
from pipeline.networks.hooks import ForwardHook, StopForward, add_hooks, run_until_stopped

__all__ = ["Peaks", "Probes", "Watcher", "reduce_view"]


@dataclass(frozen=True, slots=True)
class Peaks:
    """One layer's peaks for one batch, and where to look for their positions.

    Args:
        values: (image, unit) float32.
        view: (image, unit, y, x), the layer's output; valid only while the watcher runs.
        lines: (image, y, unit), the maximum of every grid row; None where finding positions in
            the whole map is cheaper.
    """

    values: Tensor
    view: Tensor
    lines: Tensor | None

    def locate(self, images: Tensor, units: Tensor) -> Tensor:
        """Grid positions of some peaks.

        The row of a maximum is looked up in `lines` and its column in that one row, so that of a
        map of h x w only h + w activations are read.

        Args:
            images: (pair,) int64, rows of `values`.
            units: (pair,) int64.

        Returns:
            (pair,) int64, y * grid_w + x; of equal maxima the first.
        """
        if self.lines is None:
            return self.view[images, units].flatten(1).argmax(1)
        y = self.lines[images, :, units].argmax(1)
        x = self.view.permute(0, 2, 3, 1)[images, y, :, units].argmax(1)
        return y * self.view.shape[3] + x

    def locate_all(self) -> Tensor:
        """Grid positions of all peaks, (image, unit) int64, without waiting for the host."""
        return self.view.permute(0, 2, 3, 1).flatten(1, 2).argmax(1)

    def first(self, count: int) -> Peaks:
        """The same for the first images of the batch."""
        lines = None if self.lines is None else self.lines[:count]
        return Peaks(self.values[:count], self.view[:count], lines)


Watcher = Callable[[int, Peaks], None]
"""Called once per layer and batch with the layer's index and its peaks."""


def reduce_view(view: Tensor, score: Score) -> Peaks:
    """Peaks of one layer.

    Args:
        view: (image, unit, y, x).
        score: what to keep of the positions.
    """
    if view.shape[2:] == (1, 1):
        return Peaks(view[:, :, 0, 0].float(), view, None)
    if score == "mean":
        return Peaks(view.float().mean((2, 3)), view, None)
    if view.stride(1) != 1:
        return Peaks(view.amax((2, 3)).float(), view, None)
    # Units lie side by side: reducing columns, then rows, costs what reducing both at once does,
    # and the rows' maxima make positions cheap to find.
    lines = view.permute(0, 2, 3, 1).amax(2)
    return Peaks(lines.amax(1).float(), view, lines)


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
        self._hooks = ExitStack()
        self._seen = 0

    def __enter__(self) -> Self:
        self._hooks = add_hooks(
            forward=(
                (find_module(self.module, layer.module), self._hook(index))
                for index, layer in enumerate(self.layers)
            )
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._hooks.close()

    def __call__(self, batch: Tensor) -> None:
        """Show one normalised batch (image, channel, y, x) to the network.

        Raises:
            LayerError: when a probed layer did not run.
        """
        self._seen = 0
        with torch.inference_mode():
            stopped = run_until_stopped(self.module, batch)
        if not stopped and self._seen != len(self.layers):
            raise LayerError(
                f"{len(self.layers) - self._seen} of the {len(self.layers)} probed layers did not "
                "run in a forward pass; choose layers that `maxact layers` lists"
            )

    def _hook(self, index: int) -> ForwardHook:
        layer = self.layers[index]

        def observe(module: nn.Module, inputs: Any, output: Any) -> None:
            view = unit_view(layer, output)
            self.watcher(index, reduce_view(view, self.score))
            self._seen += 1
            if self._seen == len(self.layers):
                raise StopForward

        return observe
