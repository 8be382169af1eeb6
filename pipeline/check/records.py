"""The recorded peaks of a sample of images, as `pipeline.check.rerun` compares them.

Memory grows with units and with the entries of the sample, not with the length of the lists.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.layers.layer import Layer
from pipeline.query.index import Index

__all__ = ["Entry", "LayerRecords", "PictureRecord", "read_pictures", "read_predictions", "read_records"]

_ENTRIES = """
    SELECT image_id, unit, side, activation, y, x FROM top
    WHERE layer = $layer AND image_id IN (SELECT unnest($ids))
    UNION ALL
    SELECT image_id, unit, 'strata', activation, y, x FROM strata
    WHERE layer = $layer AND image_id IN (SELECT unnest($ids))
"""

_LAST = "SELECT unit, side, activation FROM top WHERE layer = $layer AND rank = $top"

_UNITS = """
    SELECT unit, "min", "max", images - round(active_fraction * images) FROM units WHERE layer = $layer
"""

_PICTURES = """
    SELECT image_id, width, height, phash, label FROM images WHERE image_id IN (SELECT unnest($ids))
"""


_PREDICTIONS = """
    SELECT image_id, unit, score FROM predictions WHERE image_id IN (SELECT unnest($ids))
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """One recorded peak; `source` is `high`, `low` or `strata`."""

    unit: int
    source: str
    activation: float
    y: int
    x: int


@dataclass(frozen=True, slots=True)
class LayerRecords:
    """The recorded peaks of one layer, and the k-th peak of each unit's lists.

    Args:
        entries: of each image, by image_id.
        low: (unit,) the minimum.
        high: (unit,) the maximum.
        floor: (unit,) the k-th highest peak; the minimum where fewer peaks than k are above it.
        ceiling: (unit,) the k-th lowest peak; the maximum where fewer are below it, and -inf where
            more than k images of a rectified unit are at 0, so that none is listed.
    """

    entries: dict[int, list[Entry]]
    low: npt.NDArray[np.float64]
    high: npt.NDArray[np.float64]
    floor: npt.NDArray[np.float64]
    ceiling: npt.NDArray[np.float64]

    def listed(self, image_id: int, side: str) -> set[int]:
        """The units whose list of that side has the image."""
        return {entry.unit for entry in self.entries.get(image_id, ()) if entry.source == side}


@dataclass(frozen=True, slots=True)
class PictureRecord:
    """Size of the upright original in pixels, perceptual hash of the network's input, and label."""

    width: int
    height: int
    phash: int | None
    label: str | None


def read_records(index: Index, layer: Layer, top: int, image_ids: Sequence[int]) -> LayerRecords:
    """The records of one layer for some images.

    Args:
        index: open.
        layer: of the index.
        top: images kept per unit and side.
        image_ids: the images.
    """
    low, high = np.full(layer.units, np.nan), np.full(layer.units, np.nan)
    floor, ceiling = np.full(layer.units, np.nan), np.full(layer.units, np.nan)
    for unit, least, most, inactive in _numbered(index, layer, _UNITS):
        low[unit], high[unit] = least, most
        floor[unit] = least
        ceiling[unit] = -np.inf if least == 0 and inactive > top else most
    for unit, side, activation in _numbered(index, layer, _LAST, top=top):
        (floor if side == "high" else ceiling)[unit] = activation
    entries: dict[int, list[Entry]] = {}
    rows = index.sql(_ENTRIES, layer=layer.name, ids=list(image_ids)).rows
    for image_id, unit, source, activation, y, x in rows:
        if None not in (unit, activation, y, x) and 0 <= unit < layer.units:
            entries.setdefault(image_id, []).append(Entry(unit, source, activation, y, x))
    return LayerRecords(entries, low, high, floor, ceiling)


def _numbered(index: Index, layer: Layer, query: str, **parameters: object) -> list[tuple[Any, ...]]:
    """The rows of a query without those that no unit of the layer has; rules report these."""
    rows = index.sql(query, layer=layer.name, **parameters).rows
    return [row for row in rows if row[0] is not None and 0 <= row[0] < layer.units and None not in row]


def read_pictures(index: Index, image_ids: Sequence[int]) -> dict[int, PictureRecord]:
    """What the index says about the pixels of some images.

    Args:
        index: open.
        image_ids: the images.
    """
    rows = index.sql(_PICTURES, ids=list(image_ids)).rows
    return {row[0]: PictureRecord(*row[1:]) for row in rows}


def read_predictions(index: Index, image_ids: Sequence[int]) -> dict[int, dict[int, float]]:
    """The recorded scores of some images by class, those out of range left out: rules report these.

    Args:
        index: open.
        image_ids: the images.
    """
    units = index.layers[-1].units
    found: dict[int, dict[int, float]] = {}
    for image_id, unit, score in index.sql(_PREDICTIONS, ids=list(image_ids)).rows:
        if score is not None and unit is not None and 0 <= unit < units:
            found.setdefault(image_id, {})[unit] = score
    return found
