"""Search for the edges of receptive fields along one axis, by testing margins.

A margin is a number of pixels at one side of the input that are overwritten; a position is clean if
its output does not depend on them. A search is a generator: it yields the margins to test, is resumed
when the results have been recorded in its edges, and returns a field. The caller runs the network.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeVar

import numpy as np
import numpy.typing as npt

__all__ = ["Edge", "Field", "Search", "Side", "Wanted", "search_field"]

Side = Literal["near", "far"]

Wanted = set[tuple[Side, int]]
"""Margins to test, each at the near (top, left) or the far side."""

Positions = npt.NDArray[np.int64]
"""One value per grid position along one axis, or the indices of some positions."""


@dataclass(frozen=True, slots=True)
class Field:
    """The receptive fields along one axis: of position p, `size` pixels from `start + p * stride` on.

    If every position sees the whole input, stride and start are 0.

    Args:
        size: in pixels.
        stride: pixels from one position to the next.
        start: first pixel of position 0; negative inside padding.
        even: whether this is exact for all positions whose edges are inside the input; if not (windowed
            attention), the stride is the mean, and the size is the smallest with which every position's field
            is inside.
    """

    size: int
    stride: int
    start: int
    even: bool = True


@dataclass(slots=True)
class Edge:
    """The edges of all positions along one axis, counted in pixels from one side of the input.

    The bounds known so far: `at_least[p] <= edge of p < less_than[p]`. The first `border` pixels are
    seen by no position, because the length is not a multiple of the strides; the true edge of a
    position that starts there may be in the padding.
    """

    side: Side
    length: int
    positions: int
    border: int = 0
    at_least: Positions = field(init=False)
    less_than: Positions = field(init=False)

    def __post_init__(self) -> None:
        self.at_least = np.zeros(self.positions, np.int64)
        self.less_than = np.full(self.positions, self.length + 1, np.int64)

    def exclude(self, blind: npt.NDArray[np.bool_]) -> None:
        """Exclude positions that see only padding."""
        self.at_least[blind], self.less_than[blind] = self.length, self.length + 1

    def learn(self, margin: int, clean: npt.NDArray[np.bool_]) -> None:
        """Record which positions were clean when the first `margin` pixels were NaN."""
        clean = clean | (self.at_least == self.length)
        self.at_least[clean] = np.maximum(self.at_least[clean], margin)
        self.less_than[~clean] = np.minimum(self.less_than[~clean], margin)

    @property
    def inside(self) -> Positions:
        """Positions whose edge is inside the input, nearest first.

        Dilation leaves gaps: a position whose field begins in the padding may first touch the input
        behind its border. So only positions behind the last one at the border count. If windows wrap
        around, a position behind the middle can be at the border although the middle is not.
        """
        behind = self.at_least > self.border
        middle = self.positions // 2
        outside = np.flatnonzero(~behind[:middle] if behind[middle] else ~behind)
        first = outside[-1] + 1 if len(outside) else 0
        return first + np.flatnonzero(self.at_least[first:] < self.length)

    def settle(
        self, position: int, guess: int | None = None, most: int | None = None
    ) -> Generator[Wanted, None, int]:
        """Find the edge of one position.

        Args:
            position: index of the position.
            guess: probable edge, tested first.
            most: probable upper bound; bisection starts below it.

        Returns:
            The edge.
        """
        while True:
            low, high = int(self.at_least[position]), int(self.less_than[position])
            if high - low == 1:
                return low
            if guess is not None and low <= guess < high:
                margins = {margin for margin in (guess, guess + 1) if low < margin < high}
            elif most is not None and low <= most < high - 1:
                margins = {(low + most + 2) // 2}
            else:
                margins = {(low + high) // 2}
            yield {(self.side, margin) for margin in margins}

    def lowest(self, stride: int) -> Generator[Wanted, None, int]:
        """Find the least of all positions' edges, each less `stride` for every position before it."""
        seeing = np.flatnonzero(self.at_least < self.length)
        places = seeing * stride
        while True:
            low, high = self.at_least[seeing], self.less_than[seeing] - 1
            candidates = np.flatnonzero((low - places < (high - places).min()) & (low < high))
            if not len(candidates):
                return int((high - places).min())
            first = candidates[np.argmin((low - places)[candidates])]
            yield {(self.side, int(low[first] + high[first] + 1) // 2)}

    def rises_by(self, stride: int, position: int) -> bool:
        """Whether the bounds of all edges inside allow a constant stride through that of `position`.

        Positions whose edge would be at the border or in the padding may touch the input anywhere.
        """
        inside = self.inside
        edges = self.at_least[position] + (inside - position) * stride
        low, high = self.at_least[inside], self.less_than[inside]
        return bool(np.all(((low <= edges) & (edges < high)) | (edges <= self.border)))


Found = TypeVar("Found")

Search = Generator[Wanted, None, Found]
"""Yields margins to test, is resumed when the edges are updated, and returns its result."""


def _together(searches: Sequence[Search[Found]]) -> Search[list[Found]]:
    """Run searches in parallel and collect their results."""
    found: dict[int, Found] = {}
    while len(found) < len(searches):
        wanted: Wanted = set()
        for number, search in enumerate(searches):
            if number not in found:
                try:
                    wanted |= next(search)
                except StopIteration as stop:
                    found[number] = stop.value
        if wanted:
            yield wanted
    return [found[number] for number in range(len(searches))]


def _first_inside(edge: Edge, stride: int) -> Search[int | None]:
    """Find the first position whose edge is inside the input, and its edge; None if there is none."""
    yield {(edge.side, 1)}
    seeing = int(np.argmax(edge.at_least < edge.length))
    if edge.at_least[seeing] >= 1:
        edge.border = yield from edge.settle(seeing, guess=1)
        yield {(edge.side, edge.border + 1)}
    if not len(edge.inside):
        return None
    first = int(edge.inside[0])
    yield from edge.settle(first, most=edge.border + stride)
    return first


def _behind_gaps(edge: Edge, first: int, stride: int) -> Search[tuple[int, int]]:
    """Find a position whose edge is not hidden by gaps of a dilated field, and the stride there.

    Of a field that begins in the padding, the first pixel that is seen may lie behind the border, and then
    looks like an edge. If that of `first` is one, a position in the middle is not where it should be.
    """
    inside = edge.inside
    middle = int(inside[len(inside) // 2])
    expected = int(edge.at_least[first]) + (middle - first) * stride
    if middle == first or (yield from edge.settle(middle, guess=expected)) == expected:
        return first, stride
    edges = [int(edge.at_least[middle])]
    for position in (middle + 1, middle + 2):
        if position not in inside:
            return first, stride
        edges.append((yield from edge.settle(position, guess=edges[-1] + max(stride, 1))))
    here, following, last = edges
    return (middle, following - here) if last - following == following - here else (first, stride)


def search_field(near: Edge, far: Edge) -> Search[Field]:
    """Find the field along one axis.

    Args:
        near: edges at the top or left side.
        far: edges at the bottom or right side, with positions in reverse order.
    """
    length, positions = near.length, near.positions
    whole = Field(length, 0, 0)
    stride = max(1, round(length / positions))
    first, last = yield from _together([_first_inside(edge, stride) for edge in (near, far)])
    if first is None or last is None:
        return whole
    for edge, position in ((near, first), (far, last)):
        if position + 1 in edge.inside:
            here = int(edge.at_least[position])
            stride = (yield from edge.settle(position + 1, guess=here + stride)) - here
            break
    (first, stride), (last, other) = yield from _together(
        [_behind_gaps(near, first, stride), _behind_gaps(far, last, stride)]
    )
    yield {("near", length // 2), ("far", length // 3)}
    if stride == other >= 1 and near.rises_by(stride, first) and far.rises_by(stride, last):
        start = int(near.at_least[first]) - first * stride
        end = length - int(far.at_least[last]) - (positions - 1 - last) * stride
        return Field(end - start, stride, start) if end > start else whole
    stride = max(1, round(length / positions))
    first_edge, last_edge = yield from _together([near.lowest(stride), far.lowest(stride)])
    start, end = first_edge, length - last_edge - (positions - 1) * stride
    if end <= start or (start + (positions - 1) * stride <= 0 and end >= length):
        return replace(whole, even=False)
    return Field(end - start, stride, start, False)
