"""Receptive fields, by asking the network itself.

A NaN in the input reaches exactly the outputs that depend on it: convolution, pooling, addition,
concatenation and normalisation all pass it on. So with the first `margin` rows and columns of the
input NaN, a position stays clean as long as its field begins at `margin` or later. No rule per
module type is needed; branches, ceil-mode pooling and dilation come out right, and attention or
global pooling shows itself as a field that is the whole input.

The margins are searched by bisection, for all layers, both axes and both sides at once:
neighbouring layers share them, and a pass ends at the last layer that is still undecided.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.errors import LayerError
from pipeline.layers.margin_search import Edge, Field, Search, Side, Wanted, search_field
from pipeline.networks.hooks import ForwardHook, StopForward, add_hooks, run_until_stopped

__all__ = ["Field", "Target", "find_fields"]

BATCH = 8
"""Margins tried per forward pass."""


@dataclass(frozen=True, slots=True)
class Target:
    """A layer whose fields are wanted.

    Args:
        module: dotted name.
        grid: rows and columns of its positions.
        view: from the module's output to (image, unit, y, x).
    """

    module: str
    grid: tuple[int, int]
    view: Callable[[Any], Tensor]


@dataclass(slots=True)
class _Layer:
    """One layer under search."""

    target: Target
    near: Edge
    far: Edge
    search: Search[Field]
    wanted: Wanted = field(default_factory=set)
    found: Field | None = None
    uneven: bool = False
    sighted: tuple[Tensor, Tensor] = field(init=False)

    @classmethod
    def begin(cls, target: Target, length: int, axis: int) -> _Layer:
        """Start a search along one axis."""
        positions = target.grid[axis]
        near, far = Edge("near", length, positions), Edge("far", length, positions)
        layer = cls(target, near, far, search_field(near, far))
        layer.resume()
        return layer

    def resume(self) -> None:
        """Let the search look at what has been learnt."""
        try:
            self.wanted = next(self.search)
        except StopIteration as stop:
            self.wanted, self.found = set(), stop.value

    @property
    def result(self) -> Field:
        """What the search found."""
        assert self.found is not None
        return self.found

    def exclude(self, plain: Tensor, spoilt: Tensor, axes: tuple[int, ...]) -> None:
        """Find the positions (y, x) that see nothing of the input: clean even when all is NaN."""
        if not plain.all():
            raise LayerError(f"layer {self.target.module} gives NaN on a plain grey image; check the weights")
        if spoilt.all():
            self.found = Field(self.near.length, 0, 0)
        self.sighted = ~spoilt.all(1), ~spoilt.all(0)
        blind = (~self.sighted[axes[0]]).numpy()
        self.near.exclude(blind)
        self.far.exclude(blind[::-1])

    def learn(self, tries: Sequence[tuple[Side, int]], clean: Tensor, axes: tuple[int, ...]) -> None:
        """Take in which positions (try, y, x) stayed clean."""
        sighted_rows, sighted_columns = self.sighted
        rows, columns = clean[:, :, sighted_columns].any(2), clean[:, sighted_rows].any(1)
        self.uneven |= len(axes) == 2 and not torch.equal(rows, columns)
        known = (columns if axes == (1,) else rows).numpy()
        for (side, margin), positions in zip(tries, known, strict=True):
            if side == "near":
                self.near.learn(margin, positions)
            else:
                self.far.learn(margin, positions[::-1])


def _spoil(blank: Tensor, tries: Sequence[tuple[Side, int]], axes: tuple[int, ...]) -> Tensor:
    """One image per try, NaN along the margin of the given axes (0: rows, 1: columns)."""
    images = blank.expand(len(tries), *blank.shape[1:]).clone()
    for image, (side, margin) in zip(images, tries, strict=True):
        for axis in axes:
            length = image.shape[1 + axis]
            image.narrow(1 + axis, 0 if side == "near" else length - margin, margin).fill_(torch.nan)
    return images


def _watch(module: nn.Module, layers: Sequence[_Layer], images: Tensor) -> list[tuple[_Layer, Tensor]]:
    """One pass up to the last of the layers: which positions (image, y, x) stay clean."""
    seen: list[tuple[_Layer, Tensor]] = []

    def hook_for(layer: _Layer) -> ForwardHook:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            seen.append((layer, ~layer.target.view(output).amax(1).isnan()))
            if len(seen) == len(layers):
                raise StopForward

        return hook

    hooks = [(module.get_submodule(layer.target.module), hook_for(layer)) for layer in layers]
    with add_hooks(forward=hooks), torch.no_grad():
        run_until_stopped(module, images)
    return seen


def _probe(
    module: nn.Module, blank: Tensor, targets: Sequence[Target], axes: tuple[int, ...]
) -> list[_Layer]:
    """Search all layers along one axis, or along both at once where they are alike."""
    length = blank.shape[2 + axes[0]]
    layers = [_Layer.begin(target, length, axes[0]) for target in targets]
    images = torch.cat([blank, torch.full_like(blank, torch.nan)])
    for layer, clean in _watch(module, layers, images):
        layer.exclude(clean[0], clean[1], axes)
    while open_layers := [layer for layer in layers if layer.found is None and not layer.uneven]:
        wanted = sorted(set().union(*(layer.wanted for layer in open_layers)))
        for offset in range(0, len(wanted), BATCH):
            tries = wanted[offset : offset + BATCH]
            for layer, clean in _watch(module, open_layers, _spoil(blank, tries, axes)):
                layer.learn(tries, clean, axes)
        for layer in open_layers:
            layer.resume()
    return layers


def _spreads_nan(blank: Tensor) -> bool:
    """Whether this machine's convolution lets a NaN reach more outputs than depend on it."""
    images = torch.zeros(16, 32, 32, 32, dtype=blank.dtype)
    images[..., 16] = torch.nan
    kernels = torch.ones(32, 32, 3, 3, dtype=blank.dtype)
    with torch.no_grad():
        touched = functional.conv2d(images, kernels, padding=1).isnan().amax((0, 1, 2))
    return touched.nonzero().flatten().tolist() != [15, 16, 17]


def find_fields(module: nn.Module, blank: Tensor, targets: Sequence[Target]) -> list[tuple[Field, Field]]:
    """The fields of every target along y and along x.

    A grid whose fields do not advance in even steps (windowed attention) gets the field of its
    middle position and the mean step.

    Args:
        module: in eval mode; probed on the CPU, in float64 where float32 convolution spreads a
            NaN (Winograd).
        blank: (1, channel, y, x) normalised grey input.
        targets: in forward order.

    Raises:
        LayerError: when a layer gives NaN even without one in the input.
    """
    if blank.device.type != "cpu":
        module, blank = copy.deepcopy(module).cpu(), blank.cpu()
    with torch.backends.nnpack.flags(enabled=False):
        if _spreads_nan(blank):
            module, blank = copy.deepcopy(module).double(), blank.double()
        even = blank.shape[2] == blank.shape[3]
        joint = _probe(module, blank, targets, (0, 1)) if even else []
        fields = {layer.target: (layer.result, layer.result) for layer in joint if not layer.uneven}
        rest = [target for target in targets if target not in fields]
        if rest:
            rows, columns = (_probe(module, blank, rest, (axis,)) for axis in (0, 1))
            for row, column in zip(rows, columns, strict=True):
                fields[row.target] = (row.result, column.result)
    return [fields[target] for target in targets]
