"""Run a network and reduce the output of each probed layer to peaks.

A probe is a forward hook: it immediately reduces the layer's output to one peak per image and unit,
before an in-place ReLU can overwrite it, and passes both to a watcher, which may look up grid
positions while the output exists. The pass ends at the last probed layer. The features of a dictionary
can be computed and reduced a span at a time, so that those of a batch are never in memory together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor, nn

from pipeline.choices import Score
from pipeline.errors import LayerError
from pipeline.layers.layer import Layer, unit_view
from pipeline.networks.addresses import RunCounter
from pipeline.networks.dictionaries import Dictionary
from pipeline.networks.extra_modules import find_module
from pipeline.networks.hooks import ForwardHook, StopForward, add_hooks, run_until_stopped

__all__ = ["Peaks", "Probes", "Watcher", "reduce_spans", "reduce_view"]


@dataclass(frozen=True, slots=True)
class Peaks:
    """The peaks of one layer for one batch, and the data needed to find their positions.

    Args:
        values: (image, unit) float32.
        view: (image, unit, y, x), the layer's output; valid only while the watcher runs.
        lines: (image, y, unit), the maximum of every grid row; None if it is cheaper to search the
            whole map.
        first_unit: of the layer, where these are the peaks of a span of its units.
    """

    values: Tensor
    view: Tensor
    lines: Tensor | None
    first_unit: int = 0

    def locate(self, images: Tensor, units: Tensor) -> Tensor:
        """Find the grid positions of some peaks.

        The row of a maximum is found in `lines` and its column in that row, so that only h + w
        activations of a map of h x w are read.

        Args:
            images: (pair,) int64, rows of `values`.
            units: (pair,) int64.

        Returns:
            (pair,) int64, y * grid_w + x; the first of equal maxima.
        """
        if self.lines is None:
            return self.view[images, units].flatten(1).argmax(1)
        y = self.lines[images, :, units].argmax(1)
        x = self.view.permute(0, 2, 3, 1)[images, y, :, units].argmax(1)
        return y * self.view.shape[3] + x

    def locate_all(self) -> Tensor:
        """Grid positions of all peaks, (image, unit) int64; does not synchronise with the GPU."""
        return self.view.permute(0, 2, 3, 1).flatten(1, 2).argmax(1)

    def first(self, count: int) -> Peaks:
        """The peaks of the first images of the batch."""
        lines = None if self.lines is None else self.lines[:count]
        return Peaks(self.values[:count], self.view[:count], lines, self.first_unit)


Watcher = Callable[[int, Peaks], None]
"""Called with a layer's index and its peaks, once per layer and batch, or once per span of a dictionary."""


def reduce_view(view: Tensor, score: Score) -> Peaks:
    """Reduce a layer's output to its peaks.

    Args:
        view: (image, unit, y, x).
        score: how positions are reduced: their maximum or mean.
    """
    if view.shape[2:] == (1, 1):
        return Peaks(view[:, :, 0, 0].float(), view, None)
    if score == "mean":
        return Peaks(view.float().mean((2, 3)), view, None)
    if view.stride(1) != 1:
        return Peaks(view.amax((2, 3)).float(), view, None)
    # In channels-last memory, reducing columns and then rows costs the same as reducing both at
    # once, and the row maxima make positions cheap to find.
    lines = view.permute(0, 2, 3, 1).amax(2)
    return Peaks(lines.amax(1).float(), view, lines)


def reduce_spans(dictionary: Dictionary, layer: Layer, output: Tensor, score: Score) -> Iterator[Peaks]:
    """Encode the output that a dictionary belongs to, and reduce its features a span at a time.

    Args:
        dictionary: an encoder.
        layer: of its features.
        output: of the layer that it encodes.
        score: how positions are reduced.
    """
    for first, features in dictionary.spans(output):
        yield replace(reduce_view(unit_view(layer, features), score), first_unit=first)


class Probes:
    """Hooks on the probed layers, registered while the context is open.

    Args:
        module: the network, in evaluation mode.
        layers: in forward order.
        watcher: called with the peaks of every layer.
        score: how positions are reduced.
        spans: pass the features of a dictionary to the watcher a span at a time, instead of all at once.

    Raises:
        LayerError: if a layer does not exist in the module.
    """

    def __init__(
        self,
        module: nn.Module,
        layers: Sequence[Layer],
        watcher: Watcher,
        score: Score = "max",
        *,
        spans: bool = False,
    ) -> None:
        self.module = module
        self.layers = tuple(layers)
        self.watcher = watcher
        self.score: Score = score
        self.spans = spans
        self._hooks = ExitStack()
        self._runs = RunCounter()
        self._seen: set[int] = set()

    def __enter__(self) -> Self:
        self._hooks = add_hooks(
            forward=(
                (find_module(self.module, layer.module), self._hook(index))
                for index, layer in enumerate(self.layers)
            )
        )
        self._defer(self.spans)
        return self

    def __exit__(self, *exception: object) -> None:
        self._hooks.close()
        self._defer(False)

    def _defer(self, deferred: bool) -> None:
        for layer in self.layers:
            module = find_module(self.module, layer.module)
            if isinstance(module, Dictionary):
                module.deferred = deferred

    def __call__(self, batch: Tensor) -> None:
        """Run the network on one normalised batch (image, channel, y, x).

        Raises:
            LayerError: if a probed layer did not run.
        """
        self._seen = set()
        self._runs.clear()
        with torch.inference_mode():
            stopped = run_until_stopped(self.module, batch)
        if not stopped and len(self._seen) != len(self.layers):
            missing = [layer.name for index, layer in enumerate(self.layers) if index not in self._seen]
            raise LayerError(
                f"{len(missing)} of the {len(self.layers)} probed layers did not run in a forward pass "
                f"({', '.join(missing[:3])}{', ...' if len(missing) > 3 else ''}); a module that runs on "
                "some inputs only, or only from a hook of another module, cannot be probed"
            )

    def _hook(self, index: int) -> ForwardHook:
        layer = self.layers[index]

        def observe(module: nn.Module, inputs: Any, output: Any) -> None:
            if not self._runs.is_meant(layer.name, layer.run):
                return
            if isinstance(module, Dictionary) and module.deferred:
                for peaks in reduce_spans(module, layer, output, self.score):
                    self.watcher(index, peaks)
            else:
                self.watcher(index, reduce_view(unit_view(layer, output), self.score))
            self._seen.add(index)
            if len(self._seen) == len(self.layers):
                raise StopForward

        return observe
