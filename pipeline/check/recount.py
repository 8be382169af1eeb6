"""Statistics computed again where every image was run again, and compared with those recorded.

A peak now may differ from the one that was recorded by its slack. Every bound below follows from that:
means and deviations move by at most the mean slack, and the number of peaks up to an edge lies between
the numbers of peaks that are certainly and possibly up to it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch

from pipeline.check.findings import Discrepancy, Findings
from pipeline.layers.layer import Layer
from pipeline.query.index import Index
from pipeline.state.statistics import BUCKETS, bucket_bounds, bucket_of

__all__ = ["Recount"]

Array = npt.NDArray[np.float64]


class Recount:
    """Accumulates the peaks of every image, layer by layer.

    Args:
        layers: of the index.
    """

    def __init__(self, layers: Sequence[Layer]) -> None:
        self._layers = tuple(_LayerCount(layer) for layer in layers)

    def add(self, index: int, label: str | None, values: Array, slack: Array) -> None:
        """Add one image's peaks.

        Args:
            index: of the layer.
            label: of the image.
            values: (unit,) its peaks.
            slack: (unit,) by which each may differ from what was recorded.
        """
        self._layers[index].add(label, values, slack)

    def compare(self, index: Index) -> Findings:
        """Compare with the tables of an index."""
        found = Findings()
        for layer in self._layers:
            for unit, what in layer.compare(index):
                found.add(Discrepancy(layer.layer.name, unit, -1, what))
        return found


class _LayerCount:
    """The peaks of one layer."""

    def __init__(self, layer: Layer) -> None:
        units = layer.units
        self.layer = layer
        self.images = 0
        self.mean, self.m2 = np.zeros(units), np.zeros(units)
        self.low, self.high = np.full(units, np.inf), np.full(units, -np.inf)
        self.slack, self.square_slack, self.most_slack = np.zeros(units), np.zeros(units), np.zeros(units)
        self.certainly_active, self.possibly_active = np.zeros(units, int), np.zeros(units, int)
        self.lower = np.zeros((units, BUCKETS), np.int32)
        self.upper = np.zeros((units, BUCKETS), np.int32)
        self.labels: dict[str, tuple[int, Array]] = {}

    def add(self, label: str | None, values: Array, slack: Array) -> None:
        """One image: see `Recount.add`. Mean and deviations by Welford (1962)."""
        self.images += 1
        delta = values - self.mean
        self.mean += delta / self.images
        self.m2 += delta * (values - self.mean)
        self.low, self.high = np.minimum(self.low, values), np.maximum(self.high, values)
        self.slack += slack
        self.square_slack += slack**2
        self.most_slack = np.maximum(self.most_slack, slack)
        self.certainly_active += values - slack > 0
        self.possibly_active += values + slack > 0
        units = np.arange(len(values))
        for counts, moved in ((self.lower, values - slack), (self.upper, values + slack)):
            counts[units, bucket_of(torch.from_numpy(moved).float()).numpy()] += 1
        if label is not None:
            count, total = self.labels.get(label, (0, np.zeros(len(values))))
            self.labels[label] = count + 1, total + values

    def compare(self, index: Index) -> Iterator[tuple[int, str]]:
        """(unit, what) of every difference."""
        mean_slack = self.slack / max(self.images, 1)
        std = np.sqrt(self.m2 / max(self.images, 1))
        std_slack = np.sqrt(self.square_slack / max(self.images, 1))
        rows = index.sql(
            'SELECT unit, images, mean, std, "min", "max", active_fraction FROM units WHERE layer = $layer',
            layer=self.layer.name,
        ).dicts()
        for row in rows:
            unit = row["unit"]
            if unit is None or not 0 <= unit < self.layer.units:
                continue  # a rule reports it
            rounding = 1e-9 * max(abs(self.low[unit]), abs(self.high[unit]))
            for name, value, slack in (
                ("images", self.images, 0),
                ("mean", self.mean[unit], mean_slack[unit] + rounding),
                ("std", std[unit], std_slack[unit] + rounding),
                ("min", self.low[unit], self.most_slack[unit]),
                ("max", self.high[unit], self.most_slack[unit]),
            ):
                if row[name] is None or not abs(row[name] - value) <= slack:
                    yield unit, f"{name} {row[name]}, but {value:g} over all images"
            few, many = self.certainly_active[unit], self.possibly_active[unit]
            active = (row["active_fraction"] or 0) * self.images
            if not few - 1e-3 <= active <= many + 1e-3:
                yield unit, f"{active:g} active images, but {few} to {many} of all images"
        yield from self._compare_histograms(index)
        yield from self._compare_labels(index)

    def _compare_histograms(self, index: Index) -> Iterator[tuple[int, str]]:
        bucket = {edge: number for number, edge in enumerate(bucket_bounds()[0].tolist())}
        recorded = np.zeros((self.layer.units, BUCKETS), np.int64)
        rows = index.sql(
            "SELECT unit, lower, images FROM histograms WHERE layer = $layer", layer=self.layer.name
        ).rows
        for unit, edge, images in rows:
            if edge in bucket and unit is not None and 0 <= unit < self.layer.units:
                recorded[unit, bucket[edge]] += images or 0
        fewest, most = self.upper.cumsum(axis=1), self.lower.cumsum(axis=1)
        counted = recorded.cumsum(axis=1)
        impossible = (counted < fewest) | (counted > most)
        for unit in np.unique(impossible.nonzero()[0]):
            yield int(unit), "its histogram is not that of the peaks of all images"

    def _compare_labels(self, index: Index) -> Iterator[tuple[int, str]]:
        rows = index.sql(
            "SELECT unit, label, mean_peak FROM classes WHERE layer = $layer", layer=self.layer.name
        ).rows
        for unit, label, recorded in rows:
            if unit is None or not 0 <= unit < self.layer.units or label not in self.labels:
                continue  # a rule reports it
            count, total = self.labels[label]
            mean = total[unit] / count
            slack = self.most_slack[unit] + 1e-9 * max(abs(self.low[unit]), abs(self.high[unit]))
            if recorded is None or not abs(recorded - mean) <= slack:
                yield unit, f"mean peak of label {label} {recorded}, but {mean:g} over all its images"
