"""The charts of an atlas, as coordinates for SVG elements that the templates draw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from viz.atlas.content import UnitContent
from viz.sheets.plot import bar_heights

__all__ = ["Histogram", "Mark", "bars", "plot_histogram"]

WIDTH, HEIGHT = 640, 120
"""Size of a histogram's plotting area, in units of its SVG element."""

COLUMNS = 128
"""Bars of a histogram."""

MARGIN = 0.04
"""Share of the range that is left free beyond the extremes."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A value on the axis of a histogram.

    Args:
        x: place, 0 to `WIDTH`.
        value: the value.
        image_id: of the image it belongs to; -1 for none.
    """

    x: float
    value: float
    image_id: int = -1


@dataclass(frozen=True, slots=True)
class Histogram:
    """A histogram of the peaks of all images, with some values marked.

    Args:
        path: of the bars, whose heights are logarithmic; data of an SVG path.
        zero: place of 0; None if it is outside the axis.
        best: the highest peak.
        synthetic: the activation of each rendering.
        images: the peaks of the images shown on the page.
    """

    path: str
    zero: float | None
    best: Mark
    synthetic: tuple[Mark, ...]
    images: tuple[Mark, ...]


def plot_histogram(unit: UnitContent) -> Histogram | None:
    """Lay out the histogram of a unit; None for a dead unit, all of whose peaks are the same."""
    best = float(unit.statistics["max"] or 0)
    if unit.dead or not unit.histogram:
        return None
    renderings = [row.activation for row in unit.renderings]
    values = [0.0, best, float(unit.statistics["min"] or 0), *renderings]
    low, high = min(values), max(values)
    margin = (high - low) * MARGIN or 1.0
    low, high = (low - margin if low < 0 else low), high + margin

    def mark(value: float, image_id: int = -1) -> Mark:
        return Mark(round((value - low) / (high - low) * WIDTH, 1), value, image_id)

    return Histogram(
        path=bars(bar_heights(unit.histogram, low, high, COLUMNS), COLUMNS, WIDTH, HEIGHT),
        zero=mark(0.0).x if low <= 0 <= high else None,
        best=mark(best),
        synthetic=tuple(mark(value) for value in renderings),
        images=tuple(mark(patch.activation, patch.image_id) for patch in unit.patches),
    )


def bars(heights: Sequence[tuple[int, float]], columns: int, width: float, height: float) -> str:
    """The data of an SVG path of bars.

    Args:
        heights: (column, height from 0 to 1) of the bars that are not empty.
        columns: number of columns.
        width: of the plotting area.
        height: likewise.
    """
    step = width / columns
    return "".join(
        f"M{column * step:.5g} {height:g}v{-max(1.5, share * height):.3g}h{step:.5g}V{height:g}z"
        for column, share in heights
    )
