"""Finds the batch norms that the convolutions before them can do, and tries it.

A batch norm's backward pass is slow in mixed precision: it was a fifth of a climb in GoogLeNet. And
autocast casts a weight that needs no gradient again at every call. So a climb uses weights with the
batch norms folded in, cast once. Nothing of the network is touched: a `Folding` says what stands in
for which weights, and `viz.passes.fast_ops` acts on it while the network runs. What belongs together is
found by watching one pass, and tried in another.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from viz.passes.fast_ops import QuickConvolutions
from viz.passes.frozen import Folding, Norm, Ready

__all__ = ["find_folding"]

TOLERANCE = 1e-4
"""Largest difference that folding may make to an activation, relative to the layer's largest."""


_CROPS = frozenset({Tensor.__getitem__, Tensor.clone})
"""What a crop of `viz.canvas` calls."""


class _Watching(TorchFunctionMode):
    """Notes convolutions, and the batch norms that read what they gave."""

    def __init__(self) -> None:
        super().__init__()
        self.convolutions: list[tuple[Tensor, Tensor | None]] = []
        self.pairs: list[tuple[int, Norm]] = []
        self.norms: Counter[int] = Counter()
        self._given: list[tuple[int, Tensor]] = []

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if func is torch.conv2d:
            weight, bias = _weights(*args, **kwargs)
            self._given.append((len(self.convolutions), result))
            self.convolutions.append((weight, bias))
        elif func in _CROPS:
            # A crop of what a convolution gave is as good.
            self._given += [(place, result) for place, whole in self._given if whole is args[0]]
        elif func is F.batch_norm:
            norm = Norm(*args, **kwargs)
            self.norms[id(norm.mean)] += 1
            self.pairs += [(place, norm) for place, whole in self._given if whole is norm.input]
        return result


def _weights(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, *rest: Any, **others: Any
) -> tuple[Tensor, Tensor | None]:
    return weight, bias


def find_folding(module: nn.Module, run: Callable[[], Sequence[Tensor]]) -> Folding:
    """What can stand in for a module's weights, tried.

    Args:
        module: frozen, in eval mode.
        run: lets it run once and gives what counts of its activations, the same whenever called.

    Returns:
        A folding in float32; an empty one where activations would be others.
    """
    with _Watching() as watching, torch.no_grad():
        expected = run()
    folding = _fold(module, watching)
    with QuickConvolutions(folding), torch.no_grad():
        found = run()
    for values, wanted in zip(found, expected, strict=True):
        if not (values - wanted).abs().max() <= TOLERANCE * wanted.abs().max():
            return Folding()
    return folding


def _fold(module: nn.Module, watching: _Watching) -> Folding:
    """Weights with the batch norms behind them, as far as each is used once."""
    # Others are made as the network runs, and their identity says nothing.
    own = {id(part) for part in (*module.parameters(), *module.buffers())}
    uses = Counter(id(weight) for weight, _ in watching.convolutions)
    ready = {
        id(weight): Ready(weight, bias)
        for weight, bias in watching.convolutions
        if id(weight) in own and uses[id(weight)] == 1
    }
    idle = set()
    for place, norm in watching.pairs:
        weight, bias = watching.convolutions[place]
        once = watching.norms[id(norm.mean)] == 1 and id(norm.mean) in own
        if id(weight) in ready and once and norm.is_frozen:
            ready[id(weight)] = norm.folded(weight, bias)
            idle.add(id(norm.mean))
    return Folding(ready, frozenset(idle)).to(torch.float32)
