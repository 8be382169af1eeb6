"""Name units: the concepts that explain a unit's peaks, and how well on images not used to choose them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.naming.concepts import Concepts
from pipeline.naming.correlation import (
    ConceptCounts,
    Floats,
    PeakSums,
    concept_counts,
    correlations,
    peak_sums,
    spread_of,
)
from pipeline.naming.greedy import Fit, fit_terms
from pipeline.state.label_sums import LabelSums

__all__ = ["FLOOR", "MIN_IMAGES", "UnitNames", "least_correlation", "name_spans", "name_units"]

MIN_IMAGES = 5
"""Images that a concept must have, and lack, in each half."""

FLOOR = 0.1
"""Correlation below which a concept says little about a unit, however many images show it."""

_DEVIATIONS = 4
"""Standard deviations of the correlation of a shuffled label, 1 / sqrt(N - 1)."""

_UNITS_AT_ONCE = 512


@dataclass(frozen=True, slots=True)
class UnitNames:
    """The names of a span of units: one entry per unit and rank, sorted by both.

    Args:
        units: units up to the end of the span.
        unit: (name,) int64, counted from the first unit of all layers.
        rank: (name,) int64, from 1.
        concept: (name,) int64, row of the concepts.
        correlation: (name,) float64, with the concept over all labelled images.
        held_out: (name,) float64, over half 1.
        combined: (name,) float64, over half 1, with the weighted sum of the concepts up to this rank.
        images: (name,) int64, of the concept.
        weight: (name,) float64, of the concept in the sum of all of the unit's names.
    """

    units: int
    unit: npt.NDArray[np.int64]
    rank: npt.NDArray[np.int64]
    concept: npt.NDArray[np.int64]
    correlation: Floats
    held_out: Floats
    combined: Floats
    images: npt.NDArray[np.int64]
    weight: Floats


def least_correlation(images: int) -> float:
    """The correlation from which a name is shown, over a half of so many images."""
    return max(FLOOR, _DEVIATIONS / np.sqrt(images - 1)) if images > 1 else float("inf")


def name_units(sums: LabelSums, concepts: Concepts) -> Iterator[UnitNames]:
    """Name all units, a span at a time.

    Of each unit the concept with the highest correlation over half 0 is chosen, then further ones, see
    `pipeline.naming.greedy`. Those are kept, up to the first that fails, whose correlation over half 1
    is at least `least_correlation`.

    Args:
        sums: of peaks per label.
        concepts: over the same labels.
    """
    rows = _eligible(concepts, sums)
    kept = Concepts(
        tuple(concepts.names[row] for row in rows),
        tuple(concepts.sources[row] for row in rows),
        concepts.members[rows],
    )
    halves = [concept_counts(kept, images) for images in sums.images]
    units = sums.units
    yield from name_spans(
        units if len(rows) else 0,
        halves,
        lambda span: [peak_sums(kept, sums, counts, half, span) for half, counts in enumerate(halves)],
        rows,
    )


def name_spans(
    units: int,
    halves: Sequence[ConceptCounts],
    peaks_of: Callable[[slice], Sequence[PeakSums]],
    rows: npt.NDArray[np.int64],
    *,
    most: int = _UNITS_AT_ONCE,
) -> Iterator[UnitNames]:
    """As `name_units`, from counts and sums of any concepts.

    Args:
        units: number of units.
        halves: counts of the concepts in each half.
        peaks_of: sums of a span of units over each half.
        rows: (concept,) what the names call each concept.
        most: units of a span.
    """
    for first in range(0, units, most):
        span = slice(first, min(first + most, units))
        peaks = peaks_of(span)
        fit = fit_terms(peaks[0], halves[0], least_correlation(halves[0].images))
        yield _judge(span, fit, halves, peaks, rows)


def _eligible(concepts: Concepts, sums: LabelSums) -> npt.NDArray[np.int64]:
    """The rows of concepts with enough images in and out of them, in both halves."""
    counts = concepts.members @ sums.images.T
    outside = sums.images.sum(axis=1) - counts
    rows: npt.NDArray[np.int64] = (np.minimum(counts, outside) >= MIN_IMAGES).all(axis=1).nonzero()[0]
    return rows


def _judge(
    span: slice,
    fit: Fit,
    halves: Sequence[ConceptCounts],
    peaks: Sequence[PeakSums],
    rows: npt.NDArray[np.int64],
) -> UnitNames:
    """Judge the chosen concepts of a span of units over half 1, and keep those that hold there."""
    counts, judged = halves[1], peaks[1]
    unit = np.arange(len(fit.concept))[:, None]
    concept = np.maximum(fit.concept, 0)
    covariance = judged.covariance[concept, unit]
    variance = judged.variance[:, None]
    held_out = correlations(covariance, variance, counts.gram.diagonal()[concept])
    holds = (fit.concept >= 0) & (held_out >= least_correlation(counts.images))
    kept = np.logical_and.accumulate(holds, axis=1)
    gram = counts.gram[concept[:, :, None], concept[:, None]]
    combined = correlations(
        np.einsum("urt,ut->ur", fit.weight, covariance),
        variance,
        np.einsum("urs,urt,ust->ur", fit.weight, fit.weight, gram),
    )
    together = _over_both(concept, halves, peaks)
    last = np.maximum(kept.sum(axis=1) - 1, 0)
    where, rank = kept.nonzero()
    chosen = concept[where, rank]
    return UnitNames(
        span.stop,
        where + span.start,
        rank + 1,
        rows[chosen],
        together[where, rank],
        held_out[where, rank],
        combined[where, rank],
        (halves[0].own + halves[1].own)[chosen].astype(np.int64),
        fit.weight[where, last[where], rank],
    )


def _over_both(
    concept: npt.NDArray[np.int64],
    halves: Sequence[ConceptCounts],
    peaks: Sequence[PeakSums],
) -> Floats:
    """(unit, term) correlation of the peaks with each concept over all labelled images."""
    images = halves[0].images + halves[1].images
    own = (halves[0].own + halves[1].own)[concept]
    inside = (peaks[0].inside + peaks[1].inside)[concept, np.arange(len(concept))[:, None]]
    total = peaks[0].total + peaks[1].total
    variance = spread_of(images, total, peaks[0].squares + peaks[1].squares)
    return correlations(images * inside - own * total[:, None], variance[:, None], own * (images - own))
