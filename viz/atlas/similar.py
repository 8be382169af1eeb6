"""Units of one layer that share top images, as the SQL of their panel finds them, in less time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from pipeline.query.index import Index
from pipeline.query.matching import TopLists, read_lists
from viz.atlas.content import Neighbour

__all__ = ["similar_units"]

CHUNK = 256
"""Units that are compared with all others at once."""


def similar_units(
    index: Index,
    layer: str,
    units: Sequence[int],
    *,
    count: int,
    least: int,
    among: Sequence[int] | None = None,
) -> dict[int, list[Neighbour]]:
    """Find the most similar units of each unit.

    Args:
        index: open.
        layer: of the index.
        units: of which the most similar are wanted.
        count: similar units of each.
        least: images that two units must share.
        among: the units with which they are compared, which include them; each other for None.

    Returns:
        By unit, most similar first; ties go to more shared images, then to the lower number.
    """
    lists = read_lists(index, layer)
    asked = [unit for unit in units if (layer, unit) in lists]
    known = asked if among is None else [unit for unit in among if (layer, unit) in lists]
    place_of = {unit: place for place, unit in enumerate(known)}
    places = np.array([place_of[unit] for unit in asked], np.int64)
    tops = TopLists.collect([(layer, unit) for unit in known], [lists[layer, unit] for unit in known])
    found: dict[int, list[Neighbour]] = defaultdict(list)
    for first in range(0, len(asked), CHUNK):
        chunk = asked[first : first + CHUNK]
        row, place, shared = tops.shared([lists[layer, unit] for unit in chunk])
        own = places[row + first]
        kept = (shared >= least) & (place != own)
        row, place, shared, own = row[kept], place[kept], shared[kept], own[kept]
        jaccard = shared / (tops.sizes[own] + tops.sizes[place] - shared)
        for each in np.lexsort((place, -shared, -jaccard, row)):
            near = found[chunk[row[each]]]
            if len(near) < count:
                near.append(Neighbour(known[place[each]], int(shared[each]), float(jaccard[each])))
    return found
