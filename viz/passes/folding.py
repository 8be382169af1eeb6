"""Fold batch norms into the convolutions before them during gradient ascent.

The backward pass of a batch norm is slow in mixed precision: it took a fifth of the time of gradient
ascent in GoogLeNet. And autocast converts a weight that needs no gradient again at every call. So
gradient ascent uses weights with the batch norms folded in, converted once. The network is not
changed: a `Folding` holds the replacement of each weight, and `viz.passes.fast_ops` uses it while the
network runs. Which norm reads which convolution is recorded in one pass and verified in another.

`torch.nn.utils.fusion.fuse_conv_bn_eval` on a copy of the network is not used, for two reasons.
It needs a module that does nothing but the norm, to be replaced by an identity, and the norms of
timm's EfficientNets also drop out and activate. And it multiplies the bias by the two factors of the
norm one after the other instead of by their product, which changes its last bits, and with them
every picture.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from viz.passes.fast_ops import QuickConvolutions
from viz.passes.frozen import FoldedConv, Folding, Norm

__all__ = ["cached_folding", "find_folding"]

TOLERANCE = 1e-4
"""Largest difference that folding may make to an activation, relative to the layer's largest."""


_CROPS = frozenset({Tensor.__getitem__, Tensor.clone})
"""The functions that a crop of `viz.canvas` calls."""

_LATEST: WeakKeyDictionary[nn.Module, tuple[Hashable, Folding]] = WeakKeyDictionary()
"""The latest folding of each network and what it was found for: batches of one layer follow each other."""


class _Recorder(TorchFunctionMode):
    """Records convolutions, and the batch norms that read their outputs.

    Its fields: `convolutions`, the weight and bias of every call; `pairs`, the number of a
    convolution and a norm that reads its output; `uses`, how often each running mean was used.
    """

    def __init__(self) -> None:
        super().__init__()
        self.convolutions: list[tuple[Tensor, Tensor | None]] = []
        self.pairs: list[tuple[int, Norm]] = []
        self.uses: Counter[Tensor | None] = Counter()
        self._outputs: list[tuple[int, Tensor]] = []

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
            self._outputs.append((len(self.convolutions), result))
            self.convolutions.append((weight, bias))
        elif func in _CROPS:
            # A norm that reads a crop of the output can be folded as well.
            self._outputs += [(number, result) for number, output in self._outputs if output is args[0]]
        elif func is F.batch_norm:
            norm = Norm(*args, **kwargs)
            self.uses[norm.mean] += 1
            self.pairs += [(number, norm) for number, output in self._outputs if output is norm.input]
        return result


def _weights(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, *rest: Any, **others: Any
) -> tuple[Tensor, Tensor | None]:
    return weight, bias


def find_folding(module: nn.Module, run: Callable[[], Sequence[Tensor]]) -> Folding:
    """Find the replacements of a module's weights, and verify them.

    Args:
        module: frozen, in eval mode.
        run: runs the module and returns the activations that must not change; deterministic.

    Returns:
        A folding in float32; an empty one where it would change the activations.
    """
    with _Recorder() as recorder, torch.no_grad():
        expected = run()
    folding = _fold(module, recorder)
    with QuickConvolutions(folding), torch.no_grad():
        found = run()
    for values, wanted in zip(found, expected, strict=True):
        if not (values - wanted).abs().max() <= TOLERANCE * wanted.abs().max():
            return Folding()
    return folding


def cached_folding(
    module: nn.Module, run: Callable[[], Sequence[Tensor]], *, key: Hashable, dtype: torch.dtype
) -> Folding:
    """As `find_folding`, kept with the module for the next call with the same key and weights.

    Args:
        module: frozen, in eval mode.
        run: see `find_folding`.
        key: what the activations depend on, besides the module's parameters and buffers.
        dtype: of the replacements.
    """
    state = [(tensor.data_ptr(), tensor._version) for tensor in (*module.parameters(), *module.buffers())]
    key = (key, dtype, tuple(state))
    latest = _LATEST.get(module)
    if latest is not None and latest[0] == key:
        return latest[1]
    folding = find_folding(module, run).to(dtype)
    _LATEST[module] = (key, folding)
    return folding


def _fold(module: nn.Module, recorder: _Recorder) -> Folding:
    """Replace weights that are used once, with the batch norms that read their outputs alone."""
    # Tensors that are computed during the pass, such as standardised weights, are others in the next.
    own = {*module.parameters(), *module.buffers()}
    uses = Counter(weight for weight, _ in recorder.convolutions)
    folded = {
        weight: FoldedConv(weight, bias)
        for weight, bias in recorder.convolutions
        if weight in own and uses[weight] == 1
    }
    means = set()
    for number, norm in recorder.pairs:
        (weight, bias), mean = recorder.convolutions[number], norm.mean
        once = mean in own and recorder.uses[mean] == 1
        if weight in folded and mean is not None and once and norm.is_frozen:
            folded[weight] = norm.folded(weight, bias)
            means.add(mean)
    return Folding(folded, frozenset(means)).to(torch.float32)
