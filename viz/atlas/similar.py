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
    index: Index, layer: str, units: Sequence[int], *, count: int, least: int
) -> dict[int, list[Neighbour]]:
    """Find the most similar units of each unit.

    Args:
        index: open.
        layer: of the index.
        units: that are compared with each other.
        count: similar units of each.
        least: images that two units must share.

    Returns:
        By unit, most similar first; ties go to more shared images, then to the lower number.
    """
    lists = read_lists(index, layer)
    known = [unit for unit in units if (layer, unit) in lists]
    tops = TopLists.collect([(layer, unit) for unit in known], [lists[layer, unit] for unit in known])
    found: dict[int, list[Neighbour]] = defaultdict(list)
    for first in range(0, len(known), CHUNK):
        chunk = known[first : first + CHUNK]
        row, place, shared = tops.shared([lists[layer, unit] for unit in chunk])
        kept = (shared >= least) & (place != row + first)
        row, place, shared = row[kept], place[kept], shared[kept]
        jaccard = shared / (tops.sizes[row + first] + tops.sizes[place] - shared)
        for each in np.lexsort((place, -shared, -jaccard, row)):
            near = found[chunk[row[each]]]
            if len(near) < count:
                near.append(Neighbour(known[place[each]], int(shared[each]), float(jaccard[each])))
    return found
