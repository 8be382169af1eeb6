"""A probed layer: its name, the shape of its units, and its receptive field."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from html import escape
from typing import Any

import torch
from torch import Tensor

from pipeline.choices import Kind, Positions
from pipeline.errors import LayerError
from pipeline.images.preprocess import Box
from pipeline.networks.addresses import find_tensor, parse_address
from pipeline.visible import visible

__all__ = ["LISTED", "Layer", "listed", "stored_positions", "unit_view"]


@dataclass(frozen=True, slots=True)
class Layer:
    """One probed layer: a row of `layers.parquet`.

    Args:
        name: dotted name of the module, with the run and the tensor that is meant if there are several,
            see `pipeline.networks.addresses`.
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
        positions: `grid` where the output has its positions row by row; `reordered` where it has them
            in the order of `position_order`; `unknown` where no order was found in which positions
            respond to their place.
        position_order: of a reordered layer, for each position of the grid, row by row, where the
            output has it: the number of the token, prefix included, or of the place in the map.
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
    positions: Positions = "grid"
    position_order: tuple[int, ...] = ()

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Layer:
        """The layer of a record, see `record`; fields that are missing or None have their default.

        Raises:
            LayerError: if the order of the positions does not fit the grid.
        """
        given = {name: value for name, value in record.items() if value is not None}
        layer = cls(**{**given, "position_order": tuple(given.get("position_order", ()))})
        order, places = layer.position_order, layer.grid_h * layer.grid_w
        if order and not (len(set(order)) == len(order) == places and min(order) >= 0):
            raise LayerError(
                f"layer {layer.name}: position_order has {len(order):,} places, expected {places:,} "
                "different ones; restore the index from a copy, or index again with --fresh"
            )
        return layer

    def record(self) -> dict[str, Any]:
        """The fields as plain values; what says that positions are as usual is left out."""
        fields = asdict(self)
        if self.positions == "grid":
            del fields["positions"]
        if not self.position_order:
            del fields["position_order"]
        return fields

    @property
    def module(self) -> str:
        """Dotted name of the module whose output is probed."""
        return parse_address(self.name).module

    @property
    def part(self) -> str:
        """Which tensor of the module's output; empty: the first. Without a pattern, for torch.compile."""
        return self.name.partition(":")[2]

    @property
    def run(self) -> int:
        """Which run of the module in a pass, from 1; 0 if it runs once."""
        return parse_address(self.name).run

    def box(self, y: int, x: int) -> Box:
        """The receptive field of grid position (y, x) in input pixels, not clipped to the input."""
        top = self.start_y + y * self.stride_y
        left = self.start_x + x * self.stride_x
        return Box(left, top, left + self.rf_w, top + self.rf_h)

    def _repr_html_(self) -> str:
        """The row of `listed` as a table, as notebooks show it."""
        head = "".join(f"<th>{name}</th>" for name in LISTED)
        cells = "".join(f"<td>{escape(visible(str(value)))}</td>" for value in listed(self))
        return f"<table><thead><tr>{head}</tr></thead><tbody><tr>{cells}</tr></tbody></table>"


LISTED = ("layer", "kind", "units", "grid", "field", "stride", "prefix", "positions")
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
        "-" if layer.grid_h * layer.grid_w == 1 else layer.positions,
    )


def unit_view(layer: Layer, output: Any) -> Tensor:
    """View a layer's output with its axes in the order image, unit, y, x; a copy only if reordered.

    Args:
        layer: its kind determines the axes.
        output: of the module; of several tensors the one that the layer's name says, or the first.

    Returns:
        (image, unit, y, x), with one position for vectors.

    Raises:
        LayerError: if the output does not match the layer's kind.
    """
    if layer.position_order:
        stored = stored_positions(layer, output)
        order = torch.tensor(layer.position_order, device=stored.device)
        return stored[:, :, order].view(*stored.shape[:2], layer.grid_h, layer.grid_w)
    tensor = _probed_tensor(layer, output)
    if layer.kind == "map":
        return tensor
    if layer.kind == "map_last":
        return tensor.permute(0, 3, 1, 2)
    if layer.kind == "vector":
        return tensor[:, :, None, None]
    tokens = tensor[:, layer.prefix : layer.prefix + layer.grid_h * layer.grid_w].transpose(1, 2)
    return tokens.view(len(tokens), -1, layer.grid_h, layer.grid_w)


def stored_positions(layer: Layer, output: Any) -> Tensor:
    """View a layer's output as (image, unit, place), with all places in the order of the output.

    Args:
        layer: its kind determines the axes.
        output: of the module, as for `unit_view`.

    Returns:
        All tokens, those before the grid included; a map row by row; one place for vectors.

    Raises:
        LayerError: if the output does not match the layer's kind.
    """
    tensor = _probed_tensor(layer, output)
    if layer.kind == "map":
        return tensor.flatten(2)
    if layer.kind == "map_last":
        return tensor.flatten(1, 2).transpose(1, 2)
    if layer.kind == "vector":
        return tensor[:, :, None]
    return tensor.transpose(1, 2)


def _probed_tensor(layer: Layer, output: Any) -> Tensor:
    tensor = find_tensor(output, layer.part)
    axes = {"map": 4, "map_last": 4, "tokens": 3, "vector": 2}[layer.kind]
    if tensor is None or tensor.dim() != axes:
        found = type(output).__name__ if tensor is None else f"shape {tuple(tensor.shape)}"
        raise LayerError(f"layer {layer.name} returned {found}, expected {axes} axes ({layer.kind})")
    return tensor
