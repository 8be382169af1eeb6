"""The state of all units over a set of images: top-k lists, statistics and a sample of images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from pipeline.state import statistics as stats
from pipeline.state.histogram import CarriedCounts, add_counts
from pipeline.state.label_sums import LabelSums, merge_labels
from pipeline.state.sample import PeakSample, merge_samples
from pipeline.state.topk import Ranked, merge_ranked

__all__ = ["UnitState"]


@dataclass(frozen=True, slots=True)
class UnitState:
    """What is kept of every unit's peaks. The units of all layers share one axis.

    Args:
        high: the k highest peaks of each unit.
        low: the k lowest; its scores are negated activations.
        moments: of all peaks.
        histogram: (unit, bucket) counts: an array of the type that the number of images needs, or what
            gives one for a span of units.
        labels: sums per label.
        sample: the images of lowest hash.
    """

    high: Ranked
    low: Ranked
    moments: stats.Moments
    histogram: stats.Counts | CarriedCounts
    labels: LabelSums
    sample: PeakSample

    @classmethod
    def empty(cls, units: int, k: int) -> UnitState:
        """The identity of `merge`."""
        return cls(
            Ranked.empty(units, k),
            Ranked.empty(units, k),
            stats.Moments.empty(units),
            np.zeros((units, stats.BUCKETS), stats.count_type(0)),
            LabelSums.empty(units),
            PeakSample.empty(units),
        )

    def merge(self, other: UnitState) -> UnitState:
        """The state over both sets of images, which must not overlap."""
        moments = stats.merge_moments(self.moments, other.moments)
        return UnitState(
            merge_ranked(self.high, other.high),
            merge_ranked(self.low, other.low),
            moments,
            add_counts(self.histogram, other.histogram, moments.images),
            merge_labels(self.labels, other.labels),
            merge_samples(self.sample, other.sample),
        )

    def informative(self) -> UnitState:
        """The same state with lists that contain only peaks which tell images apart.

        The highest peaks are above the unit's minimum, for a rectified unit above 0; the lowest are
        below its maximum. A rectified unit (minimum 0) that is 0 in more images than a list has
        places has no lowest peaks: which of those images are listed depends on their numbers only.
        The lists of a constant unit are empty. Merge first: the lists of a part, which has not seen
        the minimum of the whole, must be complete.
        """
        moments = self.moments
        low, high = moments.low[:, None], moments.high[:, None]
        arbitrary = (moments.low == 0) & (moments.images - moments.active > self.low.score.shape[1])
        return replace(
            self,
            high=self.high.filtered(self.high.score > low),
            low=self.low.filtered((-self.low.score < high) & ~arbitrary[:, None]),
        )

    def renumber(self, number: Callable[[npt.NDArray[np.int64]], npt.NDArray[np.int64]]) -> UnitState:
        """The same state with every array of image_ids replaced by `number(image_ids)`."""
        return replace(
            self,
            high=replace(self.high, image_id=number(self.high.image_id)),
            low=replace(self.low, image_id=number(self.low.image_id)),
            sample=replace(self.sample, image_id=number(self.sample.image_id)),
        )
