"""Rows of the tables of units, from the merged state of a block of units."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.layers.layer import Layer
from pipeline.runs.top_labels import ImageLabels, majority
from pipeline.state import statistics as stats
from pipeline.state.label_sums import LabelSums, selectivity
from pipeline.state.merging import unit_spans
from pipeline.state.sample import STRATA_COUNT, strata_rows
from pipeline.state.topk import NO_IMAGE, Ranked
from pipeline.state.unit_state import UnitState
from pipeline.store.schemas import CLASSES, HISTOGRAMS, STRATA, TOP, UNITS

__all__ = ["UnitRows"]

_LEVELS = (0.5, 0.9, 0.99, 0.999)

_EDGES = tuple(number / STRATA_COUNT for number in range(1, STRATA_COUNT))

_LABEL_BYTES = 64 << 20
"""Bytes of the mean peaks per label of the units that are ranked together."""


class UnitRows:
    """Makes the rows of blocks of units.

    Args:
        layers: in forward order, as their units are in the blocks.
        labels: sums over all images.
        image_labels: of all images.
        classes: labels kept per unit; None keeps all.
    """

    def __init__(
        self, layers: Sequence[Layer], labels: LabelSums, image_labels: ImageLabels, classes: int | None
    ) -> None:
        self.layers, self.labels, self.image_labels, self.classes = layers, labels, image_labels, classes
        self._label_names = pa.array([*labels.labels, None], pa.string())

    def of_block(self, block: slice, merged: UnitState) -> Iterator[tuple[str, pa.Table]]:
        """The name of a table and rows of it, in their order.

        Args:
            block: span of the units on the axis of all layers.
            merged: their state, with lists that tell images apart.
        """
        moments = merged.moments
        quantiles = stats.quantiles(merged.histogram, (*_LEVELS, *_EDGES), moments.low, moments.high)
        levels, edges = np.split(quantiles, [len(_LEVELS)], axis=1)
        for layer, first, span in _layer_spans(self.layers, block):
            yield "top", _top_table(layer, first, merged, span)
            yield "strata", _strata_table(layer, first, merged, span, edges[span])
            yield "histograms", _histogram_table(layer, first, merged, span)
        # Few units at a time where there are many labels.
        most = _LABEL_BYTES // (8 * max(len(self.labels.labels), 1))
        for part in unit_spans(block.stop - block.start, most):
            units = slice(block.start + part.start, block.start + part.stop)
            means = self.labels.means(units)
            index, best = selectivity(means, merged.moments.low[part])
            for layer, first, place in _layer_spans(self.layers, units):
                span = slice(part.start + place.start, part.start + place.stop)
                found = levels[span], index[place], best[place]
                yield "units", self._unit_table(layer, first, merged, span, *found)
                if len(means):
                    yield "classes", self._class_table(layer, first, means[:, place])

    def _unit_table(
        self,
        layer: Layer,
        first: int,
        merged: UnitState,
        span: slice,
        levels: npt.NDArray[np.float32],
        index: npt.NDArray[np.float32],
        best: npt.NDArray[np.int64],
    ) -> pa.Table:
        moments, count = merged.moments, span.stop - span.start
        images = max(moments.images, 1)
        low = np.where(moments.images, moments.low[span], np.nan).astype(np.float32)
        high = np.where(moments.images, moments.high[span], np.nan).astype(np.float32)
        constant = moments.constant[span]
        # The last name is that of a label which does not exist.
        best = np.where(constant, len(self.labels.labels), best)
        common, share = majority(self.image_labels.of(merged.high.image_id[span]))
        return pa.table(
            {
                "layer": _names(layer.name, count),
                "unit": np.arange(first, first + count, dtype=np.int32),
                "images": np.full(count, moments.images, np.int64),
                "mean": moments.mean[span],
                "std": np.sqrt(moments.m2[span] / images),
                "min": low,
                "max": high,
                "active_fraction": moments.active[span] / images,
                **dict(zip(("p50", "p90", "p99", "p999"), levels.T, strict=True)),
                "selectivity": pa.array(np.where(constant, np.float32(np.nan), index), from_pandas=True),
                "top_label": self._label_names.take(pa.array(best)),
                "majority_label": self.image_labels.names(common),
                "precision": pa.array(share, from_pandas=True),
            }
        ).cast(UNITS)

    def _class_table(self, layer: Layer, first: int, means: npt.NDArray[np.float64]) -> pa.Table:
        sums = self.labels
        kept = min(self.classes or len(sums.labels), len(sums.labels))
        mean = means.T
        order = np.argsort(-mean, axis=1, kind="stable")[:, :kept]
        rows = order.reshape(-1)
        return pa.table(
            {
                "layer": _names(layer.name, len(rows)),
                "unit": np.repeat(np.arange(len(order), dtype=np.int32) + first, kept),
                "label": pa.DictionaryArray.from_arrays(rows.astype(np.int32), self._label_names[:-1]),
                "images": sums.label_images[rows],
                "mean_peak": np.take_along_axis(mean, order, 1).reshape(-1),
            }
        ).cast(CLASSES)


def _layer_spans(layers: Sequence[Layer], block: slice) -> Iterator[tuple[Layer, int, slice]]:
    """The layers of a block: each with its first unit in it, and the span of its units in the block."""
    offset = 0
    for layer in layers:
        first, last = max(offset, block.start), min(offset + layer.units, block.stop)
        if first < last:
            yield layer, first - offset, slice(first - block.start, last - block.start)
        offset += layer.units


def _names(text: str, rows: int) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(np.zeros(rows, np.int32), pa.array([text]))


def _peak_columns(layer: Layer, image_id: np.ndarray, position: np.ndarray) -> Mapping[str, np.ndarray]:
    grid_w = max(layer.grid_w, 1)
    return {
        "image_id": image_id.astype(np.int64),
        "y": (position // grid_w).astype(np.int32),
        "x": (position % grid_w).astype(np.int32),
    }


def _top_table(layer: Layer, first: int, merged: UnitState, span: slice) -> pa.Table:
    pieces = [
        _side(layer, first, side, sign, getattr(merged, side), span)
        for side, sign in (("high", 1), ("low", -1))
    ]
    side = np.repeat([0, 1], [piece.num_rows for piece in pieces])
    table = pa.concat_tables(pieces).unify_dictionaries()
    return table.take(np.lexsort((table["rank"], side, table["unit"])))


def _side(layer: Layer, first: int, side: str, sign: int, lists: Ranked, span: slice) -> pa.Table:
    image_id = lists.image_id[span]
    row, slot = (image_id != NO_IMAGE).nonzero()
    activation = lists.score[span][row, slot] * np.float32(sign) + np.float32(0)
    return pa.table(
        {
            "layer": _names(layer.name, len(row)),
            "unit": (row + first).astype(np.int32),
            "side": _names(side, len(row)),
            "rank": (slot + 1).astype(np.int32),
            "activation": activation,
            **_peak_columns(layer, image_id[row, slot], lists.position[span][row, slot]),
        }
    ).cast(TOP)


def _strata_table(
    layer: Layer, first: int, merged: UnitState, span: slice, edges: npt.NDArray[np.float32]
) -> pa.Table:
    sample, varies = merged.sample.columns(span), ~merged.moments.constant[span]
    unit, stratum, row = strata_rows(sample, edges)
    unit, stratum, row = (column[varies[unit]] for column in (unit, stratum, row))
    return pa.table(
        {
            "layer": _names(layer.name, len(unit)),
            "unit": unit + np.int32(first),
            "stratum": stratum,
            "activation": sample.peak[row, unit],
            **_peak_columns(layer, sample.image_id[row], sample.position[row, unit]),
        }
    ).cast(STRATA)


def _histogram_table(layer: Layer, first: int, merged: UnitState, span: slice) -> pa.Table:
    lower, upper = stats.bucket_bounds()
    counts = merged.histogram[span]
    unit, bucket = counts.nonzero()
    return pa.table(
        {
            "layer": _names(layer.name, len(unit)),
            "unit": (unit + first).astype(np.int32),
            "lower": lower[bucket],
            "upper": upper[bucket],
            "images": counts[unit, bucket],
        }
    ).cast(HISTOGRAMS)
