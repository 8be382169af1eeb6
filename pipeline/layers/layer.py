"""A probed layer: its name, the shape of its units, and its receptive field."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from pipeline.choices import Kind
from pipeline.errors import LayerError
from pipeline.images.preprocess import Box
from pipeline.networks.trace import first_tensor

__all__ = ["LISTED", "Layer", "listed", "unit_view"]


@dataclass(frozen=True, slots=True)
class Layer:
    """One probed layer: a row of `layers.parquet`.

    Args:
        name: dotted name of the module.
        ordinal: index among the chosen layers, in forward order, from 0.
        kind: which axes of the output are units and positions.
        units: number of units.
        prefix: number of tokens before the grid.
        grid_h: rows of positions; 1 for vectors.
        grid_w: columns of positions.
        rf_h: height of the receptive field of one position, in input pixels.
        rf_w: its width.
        stride_y: input rows between neighbouring positions; 0 if each sees the whole input.
        stride_x: input columns likewise.
        start_y: first input row of the receptive field of grid row 0; negative inside padding.
        start_x: first input column likewise.
    """

    name: str
    ordinal: int
    kind: Kind
    units: int
    prefix: int
    grid_h: int
    grid_w: int
    rf_h: int
    rf_w: int
    stride_y: int
    stride_x: int
    start_y: int
    start_x: int

    @property
    def module(self) -> str:
        """Dotted name of the module whose output is probed."""
        return self.name

    def box(self, y: int, x: int) -> Box:
        """The receptive field of grid position (y, x) in input pixels, not clipped to the input."""
        top = self.start_y + y * self.stride_y
        left = self.start_x + x * self.stride_x
        return Box(left, top, left + self.rf_w, top + self.rf_h)


LISTED = ("layer", "kind", "units", "grid", "field", "stride", "prefix")
"""Column names of `listed`."""


def listed(layer: Layer) -> tuple[str | int, ...]:
    """A layer as a row for display; the field `all` is the whole input."""
    whole = not layer.stride_y and not layer.stride_x
    return (
        layer.name,
        layer.kind,
        layer.units,
        f"{layer.grid_h}x{layer.grid_w}",
        "all" if whole else f"{layer.rf_h}x{layer.rf_w}",
        "-" if whole else f"{layer.stride_y}x{layer.stride_x}",
        layer.prefix,
    )


def unit_view(layer: Layer, output: Any) -> Tensor:
    """View a layer's output with its axes in the order image, unit, y, x, without a copy.

    Args:
        layer: its kind determines the axes.
        output: of the module; of a tuple, list or dictionary the first tensor is used.

    Returns:
        (image, unit, y, x), with one position for vectors.

    Raises:
        LayerError: if the output does not match the layer's kind.
    """
    tensor = first_tensor(output)
    axes = {"map": 4, "map_last": 4, "tokens": 3, "vector": 2}[layer.kind]
    if tensor is None or tensor.dim() != axes:
        found = type(output).__name__ if tensor is None else f"shape {tuple(tensor.shape)}"
        raise LayerError(f"layer {layer.name} returned {found}, expected {axes} axes ({layer.kind})")
    if layer.kind == "map":
        return tensor
    if layer.kind == "map_last":
        return tensor.permute(0, 3, 1, 2)
    if layer.kind == "vector":
        return tensor[:, :, None, None]
    tokens = tensor[:, layer.prefix :].transpose(1, 2)
    return tokens.view(len(tokens), -1, layer.grid_h, layer.grid_w)
