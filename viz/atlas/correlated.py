"""Units of one layer whose peaks are most correlated, where an index keeps the peaks of all images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.query.index import Index
from viz.atlas.content import Correlated

__all__ = ["CORRELATED", "correlated_units"]

CORRELATED = """
SELECT other.unit, corr(mine.peak, other.peak) AS correlation
FROM peaks AS mine JOIN peaks AS other USING (layer, image_id)
WHERE layer = $layer AND mine.unit = $unit AND other.unit <> $unit
GROUP BY other.unit ORDER BY correlation DESC, other.unit LIMIT $count
"""
"""What a unit's panel shows, in SQL."""


def correlated_units(
    index: Index,
    layer: str,
    units: Sequence[int],
    *,
    count: int,
    among: Sequence[int] | None = None,
) -> dict[int, tuple[Correlated, ...]]:
    """Find the units with the highest correlation for each unit.

    Args:
        index: open.
        layer: of the index.
        units: of which they are wanted.
        count: units of each.
        among: the units with which they are compared; each other for None.

    Returns:
        By unit, highest first, of equal ones the lower number; none where peaks are not kept or are all
        alike.
    """
    if not index.keeps_peaks or not units:
        return {}
    others = np.array(units if among is None else list(among), np.int64)
    similar = index.similarity(layer, list(units), other_units=others.tolist())
    found = {}
    for unit, row in zip(units, similar, strict=True):
        known = np.flatnonzero(~np.isnan(row) & (others != unit))
        best = known[np.lexsort((others[known], -row[known]))][:count]
        found[unit] = tuple(Correlated(int(others[place]), float(row[place])) for place in best)
    return found
