"""Measure receptive fields by running the network.

A NaN in the input reaches exactly the outputs that depend on it: convolution, pooling, addition,
concatenation and normalisation all propagate it. So if the first `margin` rows and columns of the
input are NaN, a position is clean (not NaN) if its field begins at `margin` or later. No rules per
module type are needed: branches, ceil-mode pooling and dilation are measured correctly, and attention
or global pooling gives a field that is the whole input.

The edges are found by bisection of margins, for all layers, both axes and both sides at once:
layers share the forward passes, and each pass ends at the last layer that is not finished.

Where fields do not have a constant stride, a NaN may reach too far: shifted windows mask what is beyond an
edge by a weight of e^-100, and 0 times NaN is NaN. Such layers are measured again with finite noise in the
place of NaN, in float64: a position is clean if its output stays the same.
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

SAME = 1e-12
"""Relative difference of outputs in float64 up to which they are the same: rounding of other sums."""


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
    plain: Tensor | None = None
    by_nan: bool = True
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

    def begin_with(self, plain: Tensor, by_nan: bool) -> None:
        """Keep the output (unit, y, x) of an undisturbed image; and whether others are disturbed by NaN."""
        if plain.isnan().any():
            raise LayerError(f"layer {self.target.module} outputs NaN on a trial image; check the weights")
        self.plain, self.by_nan = plain, by_nan

    def clean(self, outputs: Tensor) -> Tensor:
        """Which positions (image, y, x) do not depend on what is disturbed."""
        if self.by_nan:
            return ~outputs.isnan().any(1)
        assert self.plain is not None
        tolerance = SAME * self.plain.abs().max()
        return ((outputs - self.plain).abs() <= tolerance).all(1)

    def exclude(self, disturbed: Tensor, axes: tuple[int, ...]) -> None:
        """Exclude positions (y, x) that see nothing of the input: clean even if all of it is disturbed."""
        if disturbed.all():
            self.found = Field(self.near.length, 0, 0)
        self.sighted = ~disturbed.all(1), ~disturbed.all(0)
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


def _overwrite(
    blank: Tensor, other: Tensor, margins: Sequence[tuple[Side, int]], axes: tuple[int, ...]
) -> Tensor:
    """One image per margin, which is that of another image along the given axes (0: rows, 1: columns)."""
    images = blank.expand(len(margins), *blank.shape[1:]).clone()
    for image, (side, margin) in zip(images, margins, strict=True):
        for axis in axes:
            first = 0 if side == "near" else image.shape[1 + axis] - margin
            image.narrow(1 + axis, first, margin).copy_(other[0].narrow(1 + axis, first, margin))
    return images


def _run(module: nn.Module, layers: Sequence[_Layer], images: Tensor) -> list[tuple[_Layer, Tensor]]:
    """Run the module up to the last of the layers; returns their outputs (image, unit, y, x)."""
    seen: list[tuple[_Layer, Tensor]] = []
    runs = RunCounter()

    def hook_for(layer: _Layer) -> ForwardHook:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            if not runs.is_meant(layer.target.name, layer.target.run):
                return
            seen.append((layer, layer.target.view(output).detach()))
            if len(seen) == len(layers):
                raise StopForward

        return hook

    hooks = [(module.get_submodule(layer.target.module), hook_for(layer)) for layer in layers]
    with add_hooks(forward=hooks), torch.no_grad():
        run_until_stopped(module, images)
    return seen


def _search(
    module: nn.Module, blank: Tensor, other: Tensor, targets: Sequence[Target], axes: tuple[int, ...]
) -> list[_Layer]:
    """Search all layers along one axis, or along both at once as long as both give the same.

    Args:
        module: to run.
        blank: (1, channel, y, x).
        other: likewise, what margins are overwritten with.
        targets: in forward order.
        axes: 0 for rows, 1 for columns.
    """
    length = blank.shape[2 + axes[0]]
    layers = [_Layer.begin(target, length, axes[0]) for target in targets]
    for layer, outputs in _run(module, layers, torch.cat([blank, other])):
        layer.begin_with(outputs[0], bool(other.isnan().all()))
        layer.exclude(layer.clean(outputs[1:])[0], axes)
    while open_layers := [layer for layer in layers if layer.found is None and not layer.uneven]:
        wanted = sorted(set().union(*(layer.wanted for layer in open_layers)))
        for offset in range(0, len(wanted), BATCH):
            margins = wanted[offset : offset + BATCH]
            for layer, outputs in _run(module, open_layers, _overwrite(blank, other, margins, axes)):
                layer.learn(margins, layer.clean(outputs), axes)
        for layer in open_layers:
            layer.resume()
    return layers


def _search_both(
    module: nn.Module, blank: Tensor, other: Tensor, targets: Sequence[Target]
) -> dict[Target, tuple[Field, Field]]:
    """The fields along y and x, for which one search is enough where both are the same."""
    square = blank.shape[2] == blank.shape[3]
    joint = _search(module, blank, other, targets, (0, 1)) if square else []
    fields = {layer.target: (layer.result, layer.result) for layer in joint if not layer.uneven}
    rest = [target for target in targets if target not in fields]
    if rest:
        rows, columns = (_search(module, blank, other, rest, (axis,)) for axis in (0, 1))
        for row, column in zip(rows, columns, strict=True):
            fields[row.target] = (row.result, column.result)
    return fields


def _search_by_nan(
    module: nn.Module, blank: Tensor, targets: Sequence[Target]
) -> dict[Target, tuple[Field, Field]]:
    """The fields by NaN; none if the network itself gives NaN on an even picture."""
    try:
        return _search_both(module, blank, torch.full_like(blank, torch.nan), targets)
    except LayerError:
        if is_quantised(module):
            raise
        return {}


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

    If the fields of a grid do not have a constant stride (windowed attention), the mean stride is used,
    and fields that contain those of all positions.

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
    if blank.device.type != "cpu":  # pragma: no cover (needs a GPU)
        module, blank = copy.deepcopy(module).cpu(), blank.cpu()
    with torch.backends.nnpack.flags(enabled=False):
        if not is_quantised(module) and _spreads_nan(blank):
            module, blank = copy.deepcopy(module).double(), blank.double()
        fields = _search_by_nan(module, blank, targets)
        steady = {target for target, pair in fields.items() if all(field.even for field in pair)}
        uneven = [target for target in targets if target not in steady]
        if uneven and not is_quantised(module):
            if blank.dtype != torch.float64:
                module, blank = copy.deepcopy(module).double(), blank.double()
            generator = torch.Generator().manual_seed(0)
            noise = torch.randn((2, *blank.shape[1:]), generator=generator, dtype=torch.float64)
            fields |= _search_both(module, noise[:1], noise[1:], uneven)
    return [fields[target] for target in targets]
