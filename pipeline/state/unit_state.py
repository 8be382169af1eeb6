"""The state of all units over a set of images: top-k lists, statistics and a sample of images."""

from __future__ import annotations

from dataclasses import dataclass, replace

from pipeline.state import statistics as stats
from pipeline.state.histogram import CarriedCounts
from pipeline.state.label_sums import LabelSums
from pipeline.state.sample import PeakSample
from pipeline.state.topk import Ranked

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
