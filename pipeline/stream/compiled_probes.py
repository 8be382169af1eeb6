"""Compile a network and its probes into one graph.

Inductor includes the weights in the graph as constants, fuses normalisation and activation into the
convolutions, and removes everything after the last probe; on a CPU, `pipeline.stream.winograd` saves
arithmetic. The graph outputs the peaks and the output of each layer; the watcher is then called with
each, as by `pipeline.stream.probes`. Dictionaries are left out of the graph: their features are
computed from its outputs, a span at a time.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.choices import Score
from pipeline.errors import NetworkError
from pipeline.layers.layer import Layer, unit_view
from pipeline.networks.dictionaries import Dictionary
from pipeline.networks.extra_modules import find_module
from pipeline.networks.hooks import ForwardHook, add_hooks
from pipeline.networks.network import device_of
from pipeline.stream.probes import Peaks, Watcher, reduce_spans, reduce_view
from pipeline.stream.winograd import use_winograd

__all__ = ["CompiledProbes", "can_compile"]

_COMPILERS = ("c++", "g++", "clang++")


def can_compile(device: str) -> bool:
    """Whether inductor's backend is installed: a C++ compiler for the CPU, Triton for a GPU."""
    if device == "cuda":  # pragma: no cover (needs a GPU)
        return importlib.util.find_spec("triton") is not None
    return bool(os.environ.get("CXX")) or any(shutil.which(name) for name in _COMPILERS)


class _Probed(nn.Module):
    """A module whose forward pass returns the peaks and the outputs of the probed layers."""

    def __init__(self, module: nn.Module, layers: Sequence[Layer], score: Score) -> None:
        super().__init__()
        self.module = module
        self.layers = tuple(layers)
        self.score: Score = score
        self.outputs: dict[int, tuple[Tensor, Tensor, Tensor | None]] = {}
        self.runs: dict[int, int] = {}
        # The hooks are never removed: the module is a copy that is used for nothing else.
        add_hooks(
            forward=(
                (find_module(module, layer.module), self._hook(index, layer))
                for index, layer in enumerate(self.layers)
            )
        )

    def forward(self, batch: Tensor) -> list[tuple[Tensor, Tensor, Tensor | None]]:
        self.outputs, self.runs = {}, {}
        self.module(batch)
        return [self.outputs[index] for index in range(len(self.layers))]

    def _hook(self, index: int, layer: Layer) -> ForwardHook:
        run = layer.run

        def observe(module: nn.Module, inputs: Any, output: Any) -> None:
            if run:
                self.runs[index] = self.runs.get(index, 0) + 1
                if self.runs[index] != run:
                    return
            # Copy the output before an in-place operation changes it; inductor removes the copy if
            # there is none.
            if isinstance(module, Dictionary):
                inputs = output.clone()
                self.outputs[index] = (inputs, inputs, None)
                return
            view = unit_view(layer, output).clone()
            peaks = reduce_view(view, self.score)
            self.outputs[index] = (peaks.values, view, peaks.lines)

        return observe


class CompiledProbes:
    """Compile a network with its probes; called like `pipeline.stream.probes.Probes`.

    Args:
        module: the network; pass a copy, since it is modified.
        layers: in forward order.
        watcher: called with the peaks of every layer, including those of padding.
        score: how positions are reduced.
        batch_size: fixed batch size of the graph; smaller batches are padded with their last image.
    """

    def __init__(
        self,
        module: nn.Module,
        layers: Sequence[Layer],
        watcher: Watcher,
        score: Score,
        batch_size: int,
    ) -> None:
        self.watcher = watcher
        self.batch_size = batch_size
        self.layers = tuple(layers)
        self.score: Score = score
        self._dictionaries: dict[int, Dictionary] = {}
        for index, layer in enumerate(self.layers):
            found = find_module(module, layer.module)
            if isinstance(found, Dictionary):
                found.deferred = True
                self._dictionaries[index] = found
        if device_of(module).type == "cpu":
            use_winograd(module)
        self._run = torch.compile(_Probed(module, layers, score), dynamic=False, fullgraph=True)

    def __call__(self, batch: Tensor) -> None:
        """Run the network on one normalised batch (image, channel, y, x).

        Raises:
            NetworkError: if the network cannot be compiled.
        """
        missing = self.batch_size - len(batch)
        if missing:
            batch = torch.cat([batch, batch[-1:].expand(missing, -1, -1, -1)])
        import torch._inductor.config as inductor

        try:
            with torch.no_grad(), inductor.patch(freezing=True):
                outputs = self._run(batch)
        except (torch._dynamo.exc.TorchDynamoException, torch._inductor.exc.InductorError) as error:
            reason = " ".join(str(error).split()[:40])
            raise NetworkError(
                f"torch.compile cannot compile this network here ({reason}); use --compile off"
            ) from error
        for index, output in enumerate(outputs):
            self._watch(index, output)

    def _watch(self, index: int, output: tuple[Tensor, Tensor, Tensor | None]) -> None:
        dictionary = self._dictionaries.get(index)
        if dictionary is None:
            self.watcher(index, Peaks(*output))
            return
        with torch.no_grad():
            for peaks in reduce_spans(dictionary, self.layers[index], output[1], self.score):
                self.watcher(index, peaks)
