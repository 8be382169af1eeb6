"""The methods of an index that need the peaks of all images (`--keep peaks`)."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, cast

import numpy as np
import numpy.typing as npt

from pipeline.choices import Likeness, Side
from pipeline.errors import QueryError, UsageError
from pipeline.query.conditions import Condition
from pipeline.query.peak_queries import compare_units, nearest, refuse_top, top_of_sum
from pipeline.query.results import QueryResult
from pipeline.query.selection import ALL_UNITS, Patterns, Units

if TYPE_CHECKING:
    from pipeline.query.index import Index

__all__ = ["PeakMethods"]


class PeakMethods:
    """A base of `pipeline.query.index.Index`."""

    def top_of_sum(
        self,
        weights: Mapping[tuple[str, int], float],
        *,
        n: int = 9,
        side: Side = "high",
        where: str | None = None,
        without_label: str | None = None,
    ) -> QueryResult:
        """The images with the highest (or lowest) weighted sum of the peaks of units: rank, sum, key, label.

        Args:
            weights: of units, by layer and number.
            n, side, where, without_label: as for `top`.

        Raises:
            StoreError: when the index does not keep the peaks of all images.
            MaxactError: as `top`.
        """
        index = cast("Index", self)
        _refuse_weights(index, weights)
        refuse_top(n, side)
        condition = Condition(where, without_label)
        condition.check(index)
        return top_of_sum(index, weights, n, side, condition)

    def activations(
        self, layer: str, units: Units = ALL_UNITS, images: Iterable[int] | None = None
    ) -> npt.NDArray[np.float32]:
        """(image, unit) peaks of units over images, in the order of their numbers in `images`.

        Args:
            layer: of the index.
            units: numbers, or text such as `0-23,40`; see `pipeline.query.selection`.
            images: image_ids, in the order of the rows; None for all images, by image_id.

        Raises:
            StoreError: when the index does not keep the peaks of all images.
            QueryError: for an image that the index does not have.
            LayerError: for a layer that is not in the index.
            UsageError: for a unit out of range.
        """
        index = cast("Index", self)
        chosen = index.units(layer, units)
        try:
            rows = None if images is None else index.peaks.rows([operator.index(each) for each in images])
        except (TypeError, OverflowError) as error:
            raise QueryError(f"image_ids must be whole numbers: {error}") from error
        return index.peaks.activations(layer, chosen, rows)

    def similarity(
        self,
        layer: str,
        units: Units = ALL_UNITS,
        other_layer: str | None = None,
        other_units: Units = ALL_UNITS,
        *,
        other: Index | None = None,
        by: Likeness = "correlation",
    ) -> npt.NDArray[np.float64]:
        """(unit, other unit) Pearson's correlation or the cosine of peaks over all images.

        Args:
            layer, units: of this index.
            other_layer, other_units: to compare with; the same layer for None.
            other: their index, if it is another one, of the same images, which are matched by key.
            by: `correlation`, or `cosine`.

        Returns:
            float64 in -1..1; NaN for units whose peaks are all alike.

        Raises:
            StoreError: when an index does not keep the peaks of all images, or has other images.
            LayerError: for a layer that is not in an index.
            UsageError: for a unit out of range.
        """
        index = cast("Index", self)
        other = _other_index(index, other)
        chosen = index.units(layer, units)
        name = layer if other_layer is None else other_layer
        return compare_units(index, layer, chosen, name, other.units(name, other_units), other, by)

    def nearest_units(
        self,
        layer: str,
        unit: int,
        layers: Patterns = (),
        *,
        n: int = 10,
        other: Index | None = None,
        by: Likeness = "correlation",
    ) -> QueryResult:
        """The units whose peaks over all images are most like those of a unit: rank, layer, unit and so on.

        Args:
            layer: of this index.
            unit: of the layer.
            layers: to search, names or globs; for none the unit's own, in another index all.
            n: units at most.
            other: index to search, if it is another one, of the same images.
            by: `correlation`, or `cosine`.

        Raises:
            StoreError: when an index does not keep the peaks of all images, or has other images.
            LayerError: for a layer that is not in an index.
            UsageError: for a unit out of range.
        """
        index = cast("Index", self)
        index.units(layer, [unit])
        refuse_top(n, "high")
        searched = _other_index(index, other)
        names = (
            [layer] if not layers and other is None else [each.name for each, _ in searched.choose(layers)]
        )
        return nearest(index, layer, unit, names, searched, by, n)


def _refuse_weights(index: Index, weights: Mapping[tuple[str, int], float]) -> None:
    if not isinstance(weights, Mapping) or not weights:
        raise UsageError(f"weights must be a mapping of (layer, unit) to numbers, got {weights!r}")
    for place, weight in weights.items():
        if not isinstance(place, tuple) or len(place) != 2:
            raise UsageError(f"a unit with a weight must be (layer, unit), got {place!r}")
        index.units(place[0], [place[1]])
        if not isinstance(weight, int | float) or not math.isfinite(weight):
            raise UsageError(
                f"the weight of {place[0]} unit {place[1]} must be a finite number, got {weight!r}"
            )


def _other_index(index: Index, other: Index | None) -> Index:
    if other is not None and not isinstance(other, PeakMethods):
        raise UsageError(f"the other index must be an open index, got {other!r}")
    return index if other is None else other
