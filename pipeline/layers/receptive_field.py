"""Measure receptive fields by running the network.

A NaN in the input reaches exactly the outputs that depend on it: convolution, pooling, addition,
concatenation and normalisation all propagate it. So if the first `margin` rows and columns of the
input are NaN, a position is clean (not NaN) if its field begins at `margin` or later. No rules per
module type are needed: branches, ceil-mode pooling and dilation are measured correctly, and attention
or global pooling gives a field that is the whole input.

The edges are found by bisection of margins, for all layers, both axes and both sides at once:
layers share the forward passes, and each pass ends at the last layer that is not finished.
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
from pipeline.networks.addresses import RunCounter
from pipeline.networks.hooks import ForwardHook, StopForward, add_hooks, run_until_stopped
from pipeline.networks.plain_modules import is_quantised

__all__ = ["Field", "Target", "find_fields"]

BATCH = 8
"""Margins tested per forward pass."""


@dataclass(frozen=True, slots=True)
class Target:
    """A layer whose receptive fields are measured.

    Args:
        module: dotted name.
        grid: rows and columns of its positions.
        view: converts the module's output to (image, unit, y, x).
        layer: name of the layer; empty: the module's.
        run: which run of the module in a pass, from 1; 0: the only one.
    """

    module: str
    grid: tuple[int, int]
    view: Callable[[Any], Tensor]
    layer: str = ""
    run: int = 0

    @property
    def name(self) -> str:
        """What distinguishes it from other targets of the network."""
        return self.layer or self.module


@dataclass(slots=True)
class _Layer:
    """The search for the fields of one layer."""

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
        """Resume the search with the recorded results."""
        try:
            self.wanted = next(self.search)
        except StopIteration as stop:
            self.wanted, self.found = set(), stop.value

    @property
    def result(self) -> Field:
        """The field that the search found."""
        assert self.found is not None
        return self.found

    def exclude(self, plain: Tensor, all_nan: Tensor, axes: tuple[int, ...]) -> None:
        """Exclude positions (y, x) that see nothing of the input: clean even if all of it is NaN."""
        if not plain.all():
            raise LayerError(f"layer {self.target.module} outputs NaN on a trial image; check the weights")
        if all_nan.all():
            self.found = Field(self.near.length, 0, 0)
        self.sighted = ~all_nan.all(1), ~all_nan.all(0)
        blind = (~self.sighted[axes[0]]).numpy()
        self.near.exclude(blind)
        self.far.exclude(blind[::-1])

    def learn(self, margins: Sequence[tuple[Side, int]], clean: Tensor, axes: tuple[int, ...]) -> None:
        """Record which positions (margin, y, x) were clean."""
        sighted_rows, sighted_columns = self.sighted
        rows, columns = clean[:, :, sighted_columns].any(2), clean[:, sighted_rows].any(1)
        self.uneven |= len(axes) == 2 and not torch.equal(rows, columns)
        known = (columns if axes == (1,) else rows).numpy()
        for (side, margin), positions in zip(margins, known, strict=True):
            if side == "near":
                self.near.learn(margin, positions)
            else:
                self.far.learn(margin, positions[::-1])


def _overwrite(blank: Tensor, margins: Sequence[tuple[Side, int]], axes: tuple[int, ...]) -> Tensor:
    """One image per margin, which is NaN along the given axes (0: rows, 1: columns)."""
    images = blank.expand(len(margins), *blank.shape[1:]).clone()
    for image, (side, margin) in zip(images, margins, strict=True):
        for axis in axes:
            length = image.shape[1 + axis]
            image.narrow(1 + axis, 0 if side == "near" else length - margin, margin).fill_(torch.nan)
    return images


def _run(module: nn.Module, layers: Sequence[_Layer], images: Tensor) -> list[tuple[_Layer, Tensor]]:
    """Run the module up to the last of the layers; returns their clean positions (image, y, x)."""
    seen: list[tuple[_Layer, Tensor]] = []
    runs = RunCounter()

    def hook_for(layer: _Layer) -> ForwardHook:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            if not runs.is_meant(layer.target.name, layer.target.run):
                return
            seen.append((layer, ~layer.target.view(output).amax(1).isnan()))
            if len(seen) == len(layers):
                raise StopForward

        return hook

    hooks = [(module.get_submodule(layer.target.module), hook_for(layer)) for layer in layers]
    with add_hooks(forward=hooks), torch.no_grad():
        run_until_stopped(module, images)
    return seen


def _search(
    module: nn.Module, blank: Tensor, targets: Sequence[Target], axes: tuple[int, ...]
) -> list[_Layer]:
    """Search all layers along one axis, or along both at once as long as both give the same."""
    length = blank.shape[2 + axes[0]]
    layers = [_Layer.begin(target, length, axes[0]) for target in targets]
    images = torch.cat([blank, torch.full_like(blank, torch.nan)])
    for layer, clean in _run(module, layers, images):
        layer.exclude(clean[0], clean[1], axes)
    while open_layers := [layer for layer in layers if layer.found is None and not layer.uneven]:
        wanted = sorted(set().union(*(layer.wanted for layer in open_layers)))
        for offset in range(0, len(wanted), BATCH):
            margins = wanted[offset : offset + BATCH]
            for layer, clean in _run(module, open_layers, _overwrite(blank, margins, axes)):
                layer.learn(margins, clean, axes)
        for layer in open_layers:
            layer.resume()
    return layers


def _spreads_nan(blank: Tensor) -> bool:
    """Whether convolution on this machine propagates a NaN to outputs that do not depend on it."""
    images = torch.zeros(16, 32, 32, 32, dtype=blank.dtype)
    images[..., 16] = torch.nan
    kernels = torch.ones(32, 32, 3, 3, dtype=blank.dtype)
    with torch.no_grad():
        touched = functional.conv2d(images, kernels, padding=1).isnan().amax((0, 1, 2))
    return touched.nonzero().flatten().tolist() != [15, 16, 17]


def find_fields(module: nn.Module, blank: Tensor, targets: Sequence[Target]) -> list[tuple[Field, Field]]:
    """Measure the fields of every target along y and along x.

    If the fields of a grid do not have a constant stride (windowed attention), the field of its
    middle position and the mean stride are used.

    Args:
        module: in eval mode; run on the CPU, in float64 if float32 convolution spreads a NaN
            (Winograd).
        blank: (1, channel, y, x) normalised grey input.
        targets: in forward order.

    Returns:
        The fields along y and x, one pair per target.

    Raises:
        LayerError: if a layer outputs NaN even without one in the input.
    """
    if blank.device.type != "cpu":
        module, blank = copy.deepcopy(module).cpu(), blank.cpu()
    with torch.backends.nnpack.flags(enabled=False):
        if not is_quantised(module) and _spreads_nan(blank):
            module, blank = copy.deepcopy(module).double(), blank.double()
        even = blank.shape[2] == blank.shape[3]
        joint = _search(module, blank, targets, (0, 1)) if even else []
        fields = {layer.target: (layer.result, layer.result) for layer in joint if not layer.uneven}
        rest = [target for target in targets if target not in fields]
        if rest:
            rows, columns = (_search(module, blank, rest, (axis,)) for axis in (0, 1))
            for row, column in zip(rows, columns, strict=True):
                fields[row.target] = (row.result, column.result)
    return [fields[target] for target in targets]
