"""Counts of places that are active, marked, and both; what follows from them. All counts are exact."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.naming.correlation import correlations
from pipeline.naming.name_units import MIN_IMAGES
from pipeline.state.label_sums import HALVES
from pipeline.state.statistics import bucket_bounds

__all__ = ["MAX_CONCEPTS", "DissectedUnits", "MaskSums", "Thresholds", "judge_units", "thresholds"]

MAX_CONCEPTS = 5
"""Concepts of one unit, at most."""

_ROUNDING = 1e-4
"""So that 1 - 0.9 of 500 positions are 50, and not 49.99 rounded down."""

Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Thresholds:
    """From which activation on a unit counts as active.

    Args:
        value: (unit,) float32; active is what is above.
        share: (unit,) float64, of all positions of the dataset that are.
    """

    value: npt.NDArray[np.float32]
    share: Floats


def thresholds(histogram: Counts, quantile: float) -> Thresholds:
    """The lowest edge of a bucket that no more positions than 1 - quantile of them exceed.

    The edge is at most a bucket, a 32nd of an octave or 3.2 %, above the quantile itself.

    Args:
        histogram: (unit, bucket) of the activations at all positions, see `pipeline.state.statistics`.
        quantile: such as 0.995.
    """
    buckets = histogram.shape[1]
    total = histogram.sum(axis=1)
    # above[:, k]: positions in buckets from k on, for k from 0 to the number of buckets.
    above = np.concatenate(
        [histogram[:, ::-1].cumsum(axis=1)[:, ::-1], np.zeros((len(total), 1), np.int64)], 1
    )
    allowed = np.floor((1 - quantile) * total + _ROUNDING)
    first = (above <= allowed[:, None]).argmax(axis=1)
    lower, _ = bucket_bounds()
    # A positive bucket has its lower edge, others do not: `above the value` must mean the bucket or later.
    edges = np.append(
        np.where(lower > 0, np.nextafter(lower, np.float32(-np.inf)), lower), np.float32(np.inf)
    )
    share = above[np.arange(len(first)), first] / np.maximum(total, 1)
    assert len(edges) == buckets + 1
    return Thresholds(edges[first].astype(np.float32), share)


@dataclass(frozen=True, slots=True)
class MaskSums:
    """Counts over the images of each half that have masks.

    Args:
        both: (half, unit, concept) places that are active and marked.
        active: (half, unit) places.
        marked: (half, concept) places.
        places: (half,) all places.
        images: (half, concept) images in which the concept is marked.
        all_images: (half,) images.
    """

    both: Counts
    active: Counts
    marked: Counts
    places: Counts
    images: Counts
    all_images: Counts

    @classmethod
    def empty(cls, units: int, concepts: int) -> MaskSums:
        """Counts over no images."""
        return cls(
            np.zeros((HALVES, units, concepts), np.int64),
            np.zeros((HALVES, units), np.int64),
            np.zeros((HALVES, concepts), np.int64),
            np.zeros(HALVES, np.int64),
            np.zeros((HALVES, concepts), np.int64),
            np.zeros(HALVES, np.int64),
        )

    def merge(self, other: MaskSums) -> MaskSums:
        """Counts over the union of two sets of images that do not overlap."""
        return MaskSums(
            self.both + other.both,
            self.active + other.active,
            self.marked + other.marked,
            self.places + other.places,
            self.images + other.images,
            self.all_images + other.all_images,
        )

    def iou(self, half: int | None = None) -> Floats:
        """(unit, concept) intersection over union, of one half or of both; 0 where the union is empty."""
        both, active, marked = (
            each.sum(axis=0) if half is None else each[half] for each in (self.both, self.active, self.marked)
        )
        union = active[:, None] + marked - both
        return np.asarray(np.divide(both, union, out=np.zeros(both.shape), where=union > 0), np.float64)

    def correlation(self, half: int | None = None) -> Floats:
        """(unit, concept) Pearson's correlation of active and marked places; 0 where one does not vary."""
        both, active, marked, places = (
            each.sum(axis=0).astype(np.float64) if half is None else each[half].astype(np.float64)
            for each in (self.both, self.active, self.marked, self.places)
        )
        covariance = places * both - active[:, None] * marked
        return correlations(covariance, (active * (places - active))[:, None], marked * (places - marked))


@dataclass(frozen=True, slots=True)
class DissectedUnits:
    """The concepts that cover a unit's active places best: one entry per unit and rank, sorted by both.

    Args:
        unit, rank, concept: (entry,) int64; ranks from 1, by the intersection over union in half 0.
        iou: (entry,) float64, of all images.
        iou_held_out: (entry,) of half 1, which did not choose the concept.
        correlation, correlation_held_out: (entry,) of active and marked places, likewise.
        images: (entry,) int64, in which the concept is marked.
    """

    unit: Counts
    rank: Counts
    concept: Counts
    iou: Floats
    iou_held_out: Floats
    correlation: Floats
    correlation_held_out: Floats
    images: Counts


def judge_units(sums: MaskSums) -> DissectedUnits:
    """Choose concepts on half 0 of the images and judge them on half 1.

    Concepts that are marked in fewer than 5 images of a half are left out.

    Args:
        sums: over all images.
    """
    enough = (sums.images >= MIN_IMAGES).all(axis=0)
    chosen_by = np.where(enough, sums.iou(0), 0.0)
    order = np.argsort(-chosen_by, axis=1, kind="stable")[:, :MAX_CONCEPTS]
    unit, place = (np.take_along_axis(chosen_by, order, 1) > 0).nonzero()
    concept = order[unit, place]

    def taken(values: Floats) -> Floats:
        return values[unit, concept]

    return DissectedUnits(
        unit,
        place + 1,
        concept,
        taken(sums.iou()),
        taken(sums.iou(1)),
        taken(sums.correlation()),
        taken(sums.correlation(1)),
        sums.images.sum(axis=0)[concept],
    )
