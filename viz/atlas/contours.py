"""The outline of the region in which a map exceeds a level: marching squares (Lorensen & Cline 1987)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

__all__ = ["outline"]

Plane = npt.NDArray[np.float64]

Edge = tuple[str, int, int]
"""A side of a cell: `T` between two neighbours in a row, `L` between two in a column, with the first."""

_CUTS = {
    8: "TL",
    4: "RT",
    2: "BR",
    1: "LB",
    12: "RL",
    6: "BT",
    3: "LR",
    9: "TB",
    7: "LT",
    11: "TR",
    13: "RB",
    14: "BL",
    10: "TLBR",
    5: "RTLB",
}
"""Where the outline enters and leaves a cell, by which corners are inside (top left 8, top right 4, bottom
right 2, bottom left 1): the inside is on its right. In the last two the corners are apart."""

_JOINED = {10: "TRBL", 5: "LTRB"}
"""The same where opposite corners are inside and so is the middle of the cell."""


def outline(plane: Plane, level: float) -> str:
    """The outline of the region above a level, closed along the border of the plane.

    Args:
        plane: (y, x), with the value of each square in its middle; it is interpolated linearly.
        level: above 0.

    Returns:
        Data of an SVG path in which the plane goes from (0, 0) to (width, height); empty for no region.
    """
    framed = np.pad(np.pad(plane.astype(np.float64), 1, mode="edge"), 1)
    y, x = _ticks(plane.shape[0]), _ticks(plane.shape[1])
    follows = dict(_segments(framed, level))
    paths = []
    while follows:
        start = edge = next(iter(follows))
        points: list[str] = []
        while edge in follows:
            point = _crossing(framed, level, edge, y, x)
            if not points or points[-1] != point:
                points.append(point)
            edge = follows.pop(edge)
        assert edge == start
        paths.append(f"M{'L'.join(points)}z")
    return "".join(paths)


def _ticks(length: int) -> list[float]:
    """Places of the framed values: the border twice, as values outside are 0."""
    return [0.0, 0.0, *(place + 0.5 for place in range(length)), float(length), float(length)]


def _segments(plane: Plane, level: float) -> Iterator[tuple[Edge, Edge]]:
    inside = plane > level
    codes = 8 * inside[:-1, :-1] + 4 * inside[:-1, 1:] + 2 * inside[1:, 1:] + inside[1:, :-1]
    for row, column in zip(*np.nonzero((codes > 0) & (codes < 15)), strict=True):
        code, i, j = int(codes[row, column]), int(row), int(column)
        sides: dict[str, Edge] = {
            "T": ("T", i, j),
            "B": ("T", i + 1, j),
            "L": ("L", i, j),
            "R": ("L", i, j + 1),
        }
        joined = code in _JOINED and plane[i : i + 2, j : j + 2].mean() > level
        cuts = _JOINED[code] if joined else _CUTS[code]
        for first in range(0, len(cuts), 2):
            yield sides[cuts[first]], sides[cuts[first + 1]]


def _crossing(plane: Plane, level: float, edge: Edge, y: list[float], x: list[float]) -> str:
    kind, i, j = edge
    after = (i, j + 1) if kind == "T" else (i + 1, j)
    first, second = float(plane[i, j]), float(plane[after])
    share = (level - first) / (second - first)
    across = x[j] + share * (x[after[1]] - x[j])
    down = y[i] + share * (y[after[0]] - y[i])
    return f"{across:.2f} {down:.2f}".replace(".00", "")
