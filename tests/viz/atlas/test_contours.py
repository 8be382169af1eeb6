"""Outlines: their area is that of the region, and its inside is where the map is high."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from viz.atlas.contours import outline

SIDES = st.integers(1, 6)


def polygons(path: str) -> list[np.ndarray]:
    """The points (x, y) of each closed part of a path."""
    return [
        np.array([point.split() for point in part.split("L")], float)
        for part in re.findall(r"M([^z]+)z", path)
    ]


def area(polygon: np.ndarray) -> float:
    """Signed area: positive where the inside is on the right, with y downwards."""
    x, y = polygon.T
    return float(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y) / 2)


def winding(path: str, x: float, y: float) -> int:
    """How often the path goes around a point."""
    total = 0.0
    for polygon in polygons(path):
        angles = np.arctan2(polygon[:, 1] - y, polygon[:, 0] - x)
        total += ((np.diff(np.append(angles, angles[0])) + np.pi) % (2 * np.pi) - np.pi).sum()
    return round(total / (2 * np.pi))


def test_no_region() -> None:
    assert outline(np.zeros((3, 4)), 0.5) == ""


def test_the_whole_plane() -> None:
    (polygon,) = polygons(outline(np.ones((3, 4)), 0.5))
    assert area(polygon) == pytest.approx(12)
    assert (polygon.min(0).tolist(), polygon.max(0).tolist()) == ([0, 0], [4, 3])


def test_one_square_is_a_rhombus() -> None:
    plane = np.zeros((5, 5))
    plane[2, 3] = 1
    (polygon,) = polygons(outline(plane, 0.5))
    assert area(polygon) == pytest.approx(0.5)
    assert sorted(map(tuple, polygon)) == [(3, 2.5), (3.5, 2), (3.5, 3), (4, 2.5)]


def test_a_hole_is_left_out() -> None:
    plane = np.ones((5, 5))
    plane[2, 2] = 0
    assert sorted(map(area, polygons(outline(plane, 0.5)))) == pytest.approx([-0.5, 25])


@given(
    arrays(
        np.float64,
        st.tuples(st.integers(1, 6), st.integers(1, 6)),
        elements=st.sampled_from((0.0, 0.2, 0.4, 0.7, 1.0)),
    )
)
def test_the_outline_surrounds_what_is_above_the_level(plane: np.ndarray) -> None:
    path = outline(plane, 0.5)
    for y, x in np.ndindex(plane.shape):
        assert winding(path, x + 0.5, y + 0.5) == int(plane[y, x] > 0.5)
