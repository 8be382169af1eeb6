"""Find the part of every intermediate map that one grid position needs: a cone through the network.

A unit at one position sees its receptive field, and in an earlier map only those positions whose own
receptive fields are inside it. If every path from the input to the layer goes through a module, its
output can be cropped to them, and all that follows, forward and backward, is smaller in proportion.
GoogLeNet's inception4c at its centre needs 1 of 14 x 14 positions of itself, 3 x 3 of inception4b,
5 x 5 of inception4a, 7 x 7 of maxpool3.

    input    ├──────────────────────────┤
    block    · · ├──────────────────┤ · ·
    block    ·   ·   ├─────────┤    ·   ·
    layer                  ┼

The modules are found by `viz.planning.chokepoints`, and their receptive fields are measured, so that
no rules per architecture are needed. A crop starts at a multiple of the stride from its map to the
next one, and its size is congruent to the map's modulo that stride, so that the following layers keep
their alignment; a position that is needed then sees no padding that it does not see on the whole
input. `viz.planning.plan` verifies a cone before it is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor

from pipeline.images.preprocess import Box
from pipeline.layers.layer import Layer
from pipeline.layers.receptive_field import Field, Target, find_fields
from pipeline.networks.network import Network, grey_input
from viz.canvas import Canvas, Crop, cut_canvas, cut_interval
from viz.planning.chokepoints import chokepoint_maps

__all__ = ["cone_canvas"]

WORTHWHILE = 0.96
"""Largest share of a map that a crop may leave; larger ones would cost as much as they save, since
the gradient of a crop is written to a whole map."""


@dataclass(frozen=True, slots=True)
class _Map:
    """A map between the input and the layer, both included.

    Args:
        module: dotted name; empty for the input.
        grid: rows and columns on the whole input.
        fields: along y and along x.
    """

    module: str
    grid: tuple[int, int]
    fields: tuple[Field, Field]

    def needed(self, axis: int, start: int, end: int) -> tuple[int, int] | None:
        """The range of positions whose fields together are [start, end) of the input.

        Returns:
            The first position and the one after the last; outside the grid where the layer sees
            padding. None if no range of positions matches exactly.
        """
        field = self.fields[axis]
        if field.stride < 1:
            return None
        first, uneven = divmod(start - field.start, field.stride)
        more, odd = divmod(end - start - field.size, field.stride)
        return None if uneven or odd or more < 0 else (first, first + more + 1)

    def divides(self, other: _Map) -> bool:
        """Whether the other's strides are multiples of this one's."""
        pairs = zip(self.fields, other.fields, strict=True)
        return all(mine.stride > 0 and not own.stride % mine.stride for mine, own in pairs)


@dataclass(frozen=True, slots=True)
class _Cut:
    """The part of a map along one axis that is kept, in positions of the whole input's grid.

    Args:
        base: first position of the map after all earlier crops.
        natural: approximate number of positions of the map after all earlier crops.
        offset: first position that is kept.
        size: number of positions that are kept.
    """

    base: int
    natural: int
    offset: int
    size: int


Ends = tuple[tuple[int, int], tuple[int, int]]
"""First row that the target sees and the one after the last; likewise for columns."""


def cone_canvas(network: Network, layer: Layer, y: int, x: int) -> Canvas | None:
    """Find the window of one grid position, with crops inside the network.

    Args:
        network: runs a few trial passes.
        layer: of that network.
        y, x: grid position.

    Returns:
        The canvas, to be verified before it is used; None if no crop saves time.
    """
    if layer.stride_y < 1 or layer.stride_x < 1:
        return None
    seen = layer.box(y, x)
    ends = (int(seen.top), int(seen.bottom)), (int(seen.left), int(seen.right))
    cuts = _worthwhile(_maps(network, layer, ends), ends)
    if len(cuts) <= 2:
        return None
    (_, rows, columns), *between, (_, last_rows, last_columns) = cuts
    height, width = network.preprocess.height, network.preprocess.width
    box = cut_canvas(layer, y, x, height, width).box_on_input
    top, left = rows.offset, columns.offset
    crops = [
        Crop(part.module, down.offset - down.base, along.offset - along.base, down.size, along.size)
        for part, down, along in between
    ]
    return Canvas(
        height,
        width,
        top,
        left,
        rows.size,
        columns.size,
        last_rows.base,
        last_columns.base,
        Box(box.left - left, box.top - top, box.right - left, box.bottom - top),
        crops=tuple(crops),
    )


def _maps(network: Network, layer: Layer, ends: Ends) -> list[_Map]:
    """The input, the maps that can be cropped, in forward order, and the layer."""
    grids = chokepoint_maps(network, layer.name)
    targets = [Target(name, grid, _unchanged) for name, grid in grids.items()]
    own = (
        Field(layer.rf_h, layer.stride_y, layer.start_y),
        Field(layer.rf_w, layer.stride_x, layer.start_x),
    )
    last = _Map(layer.module, (layer.grid_h, layer.grid_w), own)
    maps = [_Map("", network.input_shape[1:], (Field(1, 1, 0), Field(1, 1, 0)))]
    found_fields = find_fields(network.module, grey_input(network), targets)
    for target, fields in zip(targets, found_fields, strict=True):
        found = _Map(target.module, target.grid, fields)
        even = all(found.needed(axis, *ends[axis]) is not None for axis in (0, 1))
        new = fields != maps[-1].fields
        if new and even and maps[-1].divides(found) and found.divides(last):
            maps.append(found)
    return [*maps, last]


def _unchanged(output: Tensor) -> Tensor:
    return output


def _worthwhile(maps: list[_Map], ends: Ends) -> list[tuple[_Map, _Cut, _Cut]]:
    """The cuts of maps along both axes, without those that would not save time."""
    while True:
        rows, columns = (_cut_axis(maps, axis, *ends[axis]) for axis in (0, 1))
        cuts = list(zip(maps, rows, columns, strict=True))
        shares = [down.size * along.size / (down.natural * along.natural) for _, down, along in cuts[1:-1]]
        if not shares or max(shares) <= WORTHWHILE:
            return cuts
        least = 1 + shares.index(max(shares))
        maps = maps[:least] + maps[least + 1 :]


def _cut_axis(maps: Sequence[_Map], axis: int, start: int, end: int) -> list[_Cut]:
    """Cut maps along one axis to the positions that the last one needs to see [start, end) of the input.

    From the layer back to the input, since a map must also contain the positions where the next
    one's cut begins and ends; the values at those positions do not matter.
    """
    strides = [part.fields[axis].stride for part in maps]
    ratios = [after // before for before, after in pairwise([*strides, strides[-1]])]
    kept: list[tuple[int, int]] = []
    for part, ratio in reversed(list(zip(maps, ratios, strict=True))):
        needed = part.needed(axis, start, end)
        assert needed is not None
        first, behind = needed
        if kept:
            offset, size = kept[-1]
            first = min(first, offset * ratio)
            behind = max(behind, (offset + size - 1) * ratio + 1)
        kept.append(cut_interval(first, behind, ratio, part.grid[axis]))
    cuts, base, natural = [], 0, maps[0].grid[axis]
    for part, ratio, (offset, size) in zip(maps, ratios, reversed(kept), strict=True):
        cuts.append(_Cut(base, min(natural, part.grid[axis] - base), offset, size))
        base, natural = offset // ratio, -(-size // ratio)
    return cuts
