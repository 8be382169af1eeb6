"""How unusual a peak is among the peaks of the indexed images.

The index keeps for every unit the highest peaks themselves and a histogram of all. So the number of
images with a peak at least as high is known exactly down to the last peak listed, and below it to
within one bucket of the histogram (3 % of the peak).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from pipeline.layers.layer import Layer
from pipeline.query.index import Index
from pipeline.state.statistics import BUCKETS, bucket_of

__all__ = ["Distribution", "read_distribution"]

_UNITS = 'SELECT unit, images, mean, std, "min", "max" FROM units WHERE layer = $layer ORDER BY unit'

_HISTOGRAMS = "SELECT unit, (lower::DOUBLE + upper) / 2, images FROM histograms WHERE layer = $layer"

_LISTED = "SELECT unit, rank, activation FROM top WHERE layer = $layer AND side = 'high'"


@dataclass(frozen=True, slots=True)
class Distribution:
    """The peaks of a layer's units over all indexed images.

    Args:
        images: (unit,) int64.
        mean, std: (unit,) float64.
        low, high: (unit,) float32, the lowest and the highest peak.
        above: (unit, bucket) int64, the images with a peak in a higher bucket.
        inside: (unit, bucket) int64, the images with a peak in this one.
        listed: (unit, rank) float32, the highest peaks; -inf where there are no more.
    """

    images: npt.NDArray[np.int64]
    mean: npt.NDArray[np.float64]
    std: npt.NDArray[np.float64]
    low: npt.NDArray[np.float32]
    high: npt.NDArray[np.float32]
    above: npt.NDArray[np.int64]
    inside: npt.NDArray[np.int64]
    listed: npt.NDArray[np.float32]

    @property
    def varies(self) -> npt.NDArray[np.bool_]:
        """(unit,) whether the unit's peak is not the same in all images."""
        found: npt.NDArray[np.bool_] = self.low < self.high
        return found

    def images_as_high(
        self, peaks: npt.NDArray[np.float32]
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
        """For each unit, the indexed images whose peak is at least as high.

        Args:
            peaks: (unit,) float32, one of each unit.

        Returns:
            (unit,) float64, estimated by half of the bucket that the peak is in; and (unit,) whether it
            is the exact number.
        """
        units = np.arange(len(peaks))
        among = (self.listed >= peaks[:, None]).sum(1)
        count = np.isfinite(self.listed).sum(1)
        bucket = bucket_of(torch.from_numpy(np.ascontiguousarray(peaks, np.float32))).numpy()
        estimate = self.above[units, bucket] + self.inside[units, bucket] / 2
        estimate = np.clip(estimate, count, self.images)
        # A list that is not full has all peaks above the lowest. That of a full list may be tied with others.
        full = count == self.listed.shape[1]
        below_list = full & (among == count)
        found = np.where(below_list, estimate, among)
        lowest = peaks <= self.low
        return np.where(lowest, self.images, found).astype(np.float64), ~below_list | lowest


def read_distribution(index: Index, layer: Layer) -> Distribution:
    """Read the distribution of a layer's peaks from the tables of an index."""
    rows = index.sql(_UNITS, layer=layer.name).rows
    columns = list(zip(*rows, strict=True))
    inside = np.zeros((layer.units, BUCKETS), np.int64)
    spread = index.sql(_HISTOGRAMS, layer=layer.name).rows
    if spread:
        unit, middle, images = (np.array(column) for column in zip(*spread, strict=True))
        bucket = bucket_of(torch.from_numpy(middle.astype(np.float32))).numpy()
        inside[unit.astype(np.int64), bucket] = images
    top = int(index.run["config"]["top"])
    listed = np.full((layer.units, top), -np.inf, np.float32)
    ranked = index.sql(_LISTED, layer=layer.name).rows
    if ranked:
        unit, rank, peak = (np.array(column) for column in zip(*ranked, strict=True))
        listed[unit.astype(np.int64), rank.astype(np.int64) - 1] = peak
    return Distribution(
        np.array(columns[1], np.int64),
        np.array(columns[2], np.float64),
        np.array(columns[3], np.float64),
        np.array(columns[4], np.float32),
        np.array(columns[5], np.float32),
        inside.sum(1, keepdims=True) - inside.cumsum(1),
        inside,
        listed,
    )
