"""Which axis of a grid has the units, the first or the last, where an output has three.

The grid has the input's aspect ratio, which settles most cases. A grid of 3 x 24 with 4 units does not have
it, and of 16 x 16 with 16 units every reading has. There the network runs on an input of twice the size, and
the axes that grow with it are rows and columns; if it accepts no other size, on inputs whose first column or
row is NaN, and rows and columns are the axes along which some of the output is NaN.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.choices import Kind
from pipeline.networks.addresses import RunCounter, find_tensor, parse_address
from pipeline.networks.hooks import ForwardHook, add_hooks

__all__ = ["guess_kind", "is_doubtful", "measure_kinds"]

_SIZES: dict[frozenset[int], Kind] = {
    frozenset({1, 2}): "map",
    frozenset({2}): "map",
    frozenset({0, 1}): "map_last",
    frozenset({0}): "map_last",
}
"""The kind by the axes that grow with the input. The second alone may be columns or rows."""

_PLACES: dict[Kind, tuple[int, int]] = {"map": (2, 1), "map_last": (1, 0)}
"""The axes of columns and of rows."""


def guess_kind(shape: tuple[int, ...], height: int, width: int) -> Kind:
    """The kind of an output of three axes whose grid is closer to the aspect ratio of the input.

    Args:
        shape: without the batch axis.
        height: of the input.
        width: likewise.
    """

    def skew(rows: int, columns: int) -> float:
        return abs(rows * width / (columns * height) - 1)

    first, second = skew(shape[1], shape[2]), skew(shape[0], shape[1])
    return "map_last" if second < first and _may_be_last(shape, height, width) else "map"


def is_doubtful(shape: tuple[int, ...], height: int, width: int) -> bool:
    """Whether the grid of an output of three axes may be elsewhere than `guess_kind` says.

    Args:
        shape: without the batch axis.
        height: of the input.
        width: likewise.
    """
    if not _may_be_last(shape, height, width):
        return False
    first, second, third = shape
    return _divides(second, third, height, width) == _divides(first, second, height, width)


def _may_be_last(shape: tuple[int, ...], height: int, width: int) -> bool:
    """Whether the first two axes may be rows and columns: no more than the input has."""
    return shape[0] <= height and shape[1] <= width


def _divides(rows: int, columns: int, height: int, width: int) -> bool:
    """Whether some stride divides the input into so many rows and columns, both rounded up or both down."""
    down = height * columns < width * (rows + 1) and width * rows < height * (columns + 1)
    up = height * (columns - 1) < width * rows and width * (rows - 1) < height * columns
    return down or up


def measure_kinds(module: nn.Module, blank: Tensor, names: Iterable[str]) -> dict[str, Kind]:
    """The kinds of outputs of three axes, by up to four passes.

    Args:
        module: in eval mode.
        blank: (image, channel, y, x), one normalised input.
        names: of layers, see `pipeline.networks.addresses`.

    Returns:
        Kinds by name. Layers are left out whose units all see the whole input, in a network that accepts
        inputs of one size.
    """
    wanted = list(names)
    if not wanted:
        return {}
    plain, large = (_outputs(module, images, wanted) for images in (blank, blank.repeat(1, 1, 2, 2)))
    found = {name: kind for name in wanted if (kind := _kind_by_size(plain.get(name), large.get(name)))}
    rest = [name for name in wanted if name not in found]
    if rest:
        column, row = blank.clone(), blank.clone()
        column[..., 0], row[..., 0, :] = torch.nan, torch.nan
        seen = [_outputs(module, images, rest) for images in (column, row)]
        found |= {name: kind for name in rest if (kind := _kind_by_nan([each.get(name) for each in seen]))}
    return found


def _kind_by_size(plain: Tensor | None, large: Tensor | None) -> Kind | None:
    """The kind by the outputs (image, axis, axis, axis) for an input and one of twice its size."""
    if plain is None or large is None or large.dim() != plain.dim():
        return None
    grown = (axis for axis in range(plain.dim() - 1) if large.shape[axis + 1] > plain.shape[axis + 1])
    return _SIZES.get(frozenset(grown))


def _kind_by_nan(outputs: list[Tensor | None]) -> Kind | None:
    """The kind by the outputs for inputs whose first column and whose first row are NaN."""
    varied = [set() if output is None else _varied_axes(output[0].isnan()) for output in outputs]
    for kind, places in _PLACES.items():
        if any(varied) and all(axes <= {place} for axes, place in zip(varied, places, strict=True)):
            return kind
    return None


def _varied_axes(mask: Tensor) -> set[int]:
    """The axes along which a mask is not the same everywhere."""
    return {axis for axis in range(mask.dim()) if not torch.equal(mask.any(axis), mask.all(axis))}


def _outputs(module: nn.Module, images: Tensor, names: list[str]) -> dict[str, Tensor]:
    """The outputs of layers in one pass, of those that run before it fails."""
    outputs: dict[str, Tensor] = {}
    runs = RunCounter()

    def hook_for(name: str) -> ForwardHook:
        address = parse_address(name)

        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            tensor = find_tensor(output, address.part)
            if runs.is_meant(name, address.run) and tensor is not None:
                outputs[name] = tensor.detach()

        return hook

    hooks = [(module.get_submodule(parse_address(name).module), hook_for(name)) for name in names]
    try:
        with add_hooks(forward=hooks), torch.no_grad():
            module(images)
    except Exception:  # the network's code may raise anything on an input that it was not made for
        return outputs
    return outputs
