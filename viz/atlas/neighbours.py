"""The nearest units of each unit, equally many for all, whatever they share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pipeline.query.matching import TopLists
from viz.atlas.places import Coordinates

__all__ = ["nearest_units"]

CHUNK = 256
"""Units that are compared with all others at once."""

TIE = 1e-5
"""Weight of the distance in the plane: less than any difference of two similarities matters."""

Numbers = npt.NDArray[np.int64]


def nearest_units(
    lists: Sequence[Numbers], places: Coordinates, count: int
) -> tuple[Numbers, npt.NDArray[np.float64]]:
    """Find the units whose lists of images are most alike; among equal ones, the nearest in the plane.

    Args:
        lists: image_ids on the list of each unit.
        places: (unit, 2) of `viz.atlas.places.place_units`.
        count: neighbours of each unit, less than the number of units.

    Returns:
        (unit, neighbour) numbers of units, the nearest first, and their distances: 1 minus the number of
        images in both lists over the number in either.
    """
    units = len(lists)
    known = TopLists.collect([("", unit) for unit in range(units)], lists)
    reach = max(1e-12, 2 * float(np.abs(places).max(initial=0)) * np.sqrt(2))
    neighbours, distances = np.empty((units, count), np.int64), np.empty((units, count))
    for first in range(0, units, CHUNK):
        chunk = np.arange(first, min(first + CHUNK, units))
        apart = _distances(known, lists, chunk)
        plane = np.linalg.norm(places[chunk, None] - places, axis=2) / reach
        keys = apart + TIE * plane
        keys[np.arange(len(chunk)), chunk] = np.inf
        # Sorted by number first, so that the order of equal ones does not depend on the partition.
        near = np.sort(np.argpartition(keys, max(0, count - 1), axis=1)[:, :count], axis=1)
        order = np.argsort(np.take_along_axis(keys, near, 1), axis=1, kind="stable")
        near = np.take_along_axis(near, order, 1)
        neighbours[chunk], distances[chunk] = near, np.take_along_axis(apart, near, 1)
    return neighbours, distances


def _distances(known: TopLists, lists: Sequence[Numbers], chunk: Numbers) -> npt.NDArray[np.float64]:
    """(unit of the chunk, unit) distances; 1 between units that share no image."""
    distances = np.ones((len(chunk), len(lists)))
    if len(known.images):
        row, place, shared = known.shared([lists[unit] for unit in chunk])
        lengths = known.sizes[chunk][row] + known.sizes[place]
        distances[row, place] = 1 - shared / (lengths - shared)
    return distances
