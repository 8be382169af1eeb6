"""Questions about the peaks of all images: top images of any kind, sums of units, nearest units.

The lists of an index come first where they suffice: their peaks are exact and have positions. What lies
beyond is taken from the kept peaks, rounded to their number format, of equal ones the lower image_id first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import numpy.typing as npt

from pipeline.choices import Likeness, Side
from pipeline.errors import UsageError
from pipeline.images.preprocess import Box
from pipeline.query.conditions import Condition
from pipeline.query.results import QueryResult, TopImage
from pipeline.query.similarity import UnitPeaks, match_images, similarities

if TYPE_CHECKING:
    from pipeline.query.index import Index

__all__ = [
    "UNKNOWN",
    "best_rows",
    "compare_units",
    "nearest",
    "refuse_top",
    "top_of_sum",
    "top_within",
]

UNKNOWN = -1
"""The grid position of an image that is not on a list: the kept peaks have none."""

_FIRST_TESTED = 256
"""Images whose condition is tested first."""

_STATISTICS = """
SELECT "min", "max", "min" = 0 AND images - round(active_fraction * images) > $top
FROM units WHERE layer = $layer AND unit = $unit
"""

_IMAGES = """
SELECT image_id, key, label, width, height, origin, duplicate_of FROM images
WHERE image_id IN (SELECT unnest($ids))
"""


def refuse_top(n: int, side: str) -> None:
    """Refuse a side or a number of images or units that is none.

    Raises:
        UsageError: says which.
    """
    if side not in get_args(Side):
        raise UsageError(f"side must be {' or '.join(get_args(Side))}, got {side!r}")
    if not isinstance(n, int) or n < 0:
        raise UsageError(f"n must be a number of images or units, got {n!r}")


def top_within(
    index: Index, layer: str, unit: int, n: int, side: Side, condition: Condition
) -> list[TopImage]:
    """The strongest images of a unit among some, from its list and then from kept peaks, if there are any.

    Args:
        index: open.
        layer: of the index.
        unit: of the layer.
        n: images at most.
        side: `high` or `low`.
        condition: which images are meant.

    Raises:
        MaxactError: as `Index.top`.
    """
    most = int(index.run["config"]["top"])
    listed = index.tops(layer, [unit], n=most, side=side)[unit]
    taken = np.array([image.image_id for image in listed], np.int64)
    meant = condition.among(index, taken).tolist()
    chosen = [image for image, is_meant in zip(listed, meant, strict=True) if is_meant][:n]
    if index.keeps_peaks and len(chosen) < n:
        chosen += _beyond(index, layer, unit, side, condition, taken, n - len(chosen))
    return [_ranked(image, rank) for rank, image in enumerate(chosen, start=1)]


def _ranked(image: TopImage, rank: int) -> TopImage:
    return image if image.rank == rank else replace(image, rank=rank)


def _beyond(
    index: Index,
    layer: str,
    unit: int,
    side: Side,
    condition: Condition,
    taken: npt.NDArray[np.int64],
    n: int,
) -> list[TopImage]:
    """Images that are not on the list, from the kept peaks; their positions are not known."""
    ((low, high, arbitrary),) = index.sql(
        _STATISTICS, layer=layer, unit=unit, top=int(index.run["config"]["top"])
    ).rows
    if low == high or (side == "low" and arbitrary):
        return []
    kept = index.peaks
    sign = 1 if side == "high" else -1
    rounded = np.array([low, high]).astype(kept.matrix.kind).astype(np.float32)
    scores = sign * kept.unit(layer, unit)
    free = scores > sign * rounded[0 if side == "high" else 1]
    free[kept.rows(taken)] = False
    rows = _meant_rows(index, condition, scores, free.nonzero()[0], n)
    records = _records(index, kept.image_ids[rows])
    return [
        TopImage(
            layer,
            unit,
            0,
            float(sign * scores[row]) + 0.0,
            image_id,
            UNKNOWN,
            UNKNOWN,
            box=index.preprocess.seen_in_original(
                Box(0, 0, index.preprocess.width, index.preprocess.height),
                records[image_id]["width"],
                records[image_id]["height"],
            ),
            **records[image_id],
        )
        for row, image_id in zip(rows.tolist(), kept.image_ids[rows].tolist(), strict=True)
    ]


def _meant_rows(
    index: Index,
    condition: Condition,
    scores: npt.NDArray[np.floating],
    rows: npt.NDArray[np.int64],
    n: int,
) -> npt.NDArray[np.int64]:
    """As `best_rows`, of the images that are meant: the best are tested first, then more and more."""
    if not condition:
        return best_rows(scores, rows, n)
    count = max(_FIRST_TESTED, 4 * n)
    while True:
        best = best_rows(scores, rows, count)
        chosen = best[condition.among(index, index.peaks.image_ids[best])]
        if len(chosen) >= n or count >= len(rows):
            return chosen[:n]
        count *= 8


def best_rows(scores: npt.NDArray[np.floating], rows: npt.NDArray[np.int64], n: int) -> npt.NDArray[np.int64]:
    """The n rows of the highest scores, highest first, of equal ones the lower row.

    Args:
        scores: (image,) of all images.
        rows: of the images that may be chosen, rising.
        n: number of rows, at most.
    """
    values = scores[rows]
    if n < len(rows):
        least = -np.partition(-values, n - 1)[n - 1] if n else np.inf
        rows, values = rows[values >= least], values[values >= least]
    return rows[np.argsort(-values, kind="stable")[:n]]


def _records(index: Index, image_ids: npt.NDArray[np.int64]) -> dict[int, dict[str, Any]]:
    """Key, label, size and the like of images, by image_id."""
    rows = index.sql(_IMAGES, ids=image_ids.tolist()).dicts()
    return {row.pop("image_id"): row for row in rows}


def top_of_sum(
    index: Index,
    weights: Mapping[tuple[str, int], float],
    n: int,
    side: Side,
    condition: Condition,
) -> QueryResult:
    """The images with the highest or lowest weighted sum of the peaks of units.

    Args:
        index: open; keeps peaks.
        weights: of units, by layer and number.
        n: images at most.
        side: `high` or `low`.
        condition: which images are meant.

    Raises:
        MaxactError: as `Index.top_of_sum`.
    """
    kept = index.peaks
    total = np.zeros(kept.matrix.image_count)
    for (layer, unit), weight in weights.items():
        total += weight * kept.unit(layer, unit).astype(np.float64)
    sign = 1 if side == "high" else -1
    best = _meant_rows(index, condition, sign * total, np.arange(len(total)), n)
    records = _records(index, kept.image_ids[best])
    found = [
        (rank, float(total[row]), records[image_id]["key"], records[image_id]["label"], image_id)
        for rank, (row, image_id) in enumerate(
            zip(best.tolist(), kept.image_ids[best].tolist(), strict=True), start=1
        )
    ]
    types = ("BIGINT", "DOUBLE", "VARCHAR", "VARCHAR", "BIGINT")
    return QueryResult(("rank", "sum", "key", "label", "image_id"), found, types)


def compare_units(
    index: Index,
    layer: str,
    units: Iterable[int],
    other_layer: str,
    other_units: Iterable[int],
    other: Index,
    by: Likeness,
) -> npt.NDArray[np.float64]:
    """(unit, other unit) similarities of units, which may be of two indexes of the same images.

    Raises:
        MaxactError: as `Index.similarity`.
    """
    if by not in get_args(Likeness):
        raise UsageError(f"units are compared by {' or '.join(get_args(Likeness))}, got {by!r}")
    ours, theirs = index.peaks, other.peaks
    rows = (
        None if other is index else match_images(_keys(index), _keys(other), (str(index.out), str(other.out)))
    )
    return similarities(
        UnitPeaks(ours, layer, tuple(units)), UnitPeaks(theirs, other_layer, tuple(other_units), rows), by
    )


def _keys(index: Index) -> Sequence[str]:
    return [row[0] for row in index.sql("SELECT key FROM images ORDER BY image_id").rows]


def nearest(
    index: Index, layer: str, unit: int, layers: Sequence[str], other: Index, by: Likeness, n: int
) -> QueryResult:
    """The units whose peaks are most like those of a unit, best first; the unit itself is left out.

    Args:
        index: open; keeps peaks.
        layer: of the unit.
        unit: its number.
        layers: of `other`, to search.
        other: the same index, or one of the same images.
        by: `correlation`, or `cosine`.
        n: units at most.

    Raises:
        MaxactError: as `Index.nearest_units`.
    """
    found: list[tuple[float, int, str, int]] = []
    for place, each in enumerate(layers):
        alike = compare_units(index, layer, [unit], each, range(other.unit_count(each)), other, by)[0]
        itself = other is index and each == layer
        found += [
            (float(value), place, each, number)
            for number, value in enumerate(alike.tolist())
            if value == value and not (itself and number == unit)
        ]
    found.sort(key=lambda row: (-row[0], row[1], row[3]))
    named = _names(other)
    rows = [
        (rank, each, number, value, named.get((each, number)))
        for rank, (value, _, each, number) in enumerate(found[:n], start=1)
    ]
    types = ("BIGINT", "VARCHAR", "INTEGER", "DOUBLE", "VARCHAR")
    return QueryResult(("rank", "layer", "unit", by, "names"), rows, types)


def _names(index: Index) -> dict[tuple[str, int], str]:
    """The names of units, where they have some."""
    text = (
        "SELECT layer, unit, string_agg(concept, ', ' ORDER BY rank) FROM names "
        "WHERE source <> 'linear' GROUP BY ALL"
    )
    return {(layer, unit): names for layer, unit, names in index.sql(text).rows}
