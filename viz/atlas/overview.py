"""Summaries of layers for the front page and the head of a layer's page."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

from viz.atlas.charts import bars
from viz.atlas.content import LayerContent, UnitContent

__all__ = ["LayerSummary", "summarise"]

TELLING = 5
"""Units of a layer that the front page shows."""

WIDTH, HEIGHT, COLUMNS = 120, 28, 20
"""Size of a small chart, and its number of bars."""


@dataclass(frozen=True, slots=True)
class LayerSummary:
    """A layer on the front page.

    Args:
        content: of the layer.
        units: number of units.
        dead: number of units whose peak is the same in all images.
        rendered: number of units with a rendering.
        telling: units to show: those with a rendering and the highest precision first.
        selectivity: data of an SVG path: how many units have which selectivity, 0 to 1.
        median_selectivity: its median; None without labels.
        ratios: likewise: activation of the rendering over the best real peak, 0 to 2 and above.
        median_ratio: its median; None without renderings.
    """

    content: LayerContent
    units: int
    dead: int
    rendered: int
    telling: tuple[UnitContent, ...]
    selectivity: str
    median_selectivity: float | None
    ratios: str
    median_ratio: float | None


def summarise(content: LayerContent) -> LayerSummary:
    """Summarise a layer."""
    units = content.units
    selectivity = [
        float(value)
        for unit in units
        if (value := unit.statistics["selectivity"]) is not None and value == value
    ]
    ratios = [unit.renderings[0].ratio for unit in units if unit.renderings]
    known = [ratio for ratio in ratios if ratio is not None]
    alive = [unit for unit in units if not unit.dead]
    alive.sort(key=lambda u: (not u.renderings, -(float(u.statistics["precision"] or 0)), u.unit))
    return LayerSummary(
        content,
        len(units),
        sum(unit.dead for unit in units),
        sum(bool(unit.renderings) for unit in units),
        tuple(alive[:TELLING]),
        _small_chart(selectivity, 1.0),
        median(selectivity) if selectivity else None,
        _small_chart(known, 2.0),
        median(known) if known else None,
    )


def _small_chart(values: list[float], top: float) -> str:
    counts = [0] * COLUMNS
    for value in values:
        counts[min(COLUMNS - 1, max(0, int(value / top * COLUMNS)))] += 1
    most = max(counts) or 1
    heights = [(column, count / most) for column, count in enumerate(counts) if count]
    return bars(heights, COLUMNS, WIDTH, HEIGHT)
