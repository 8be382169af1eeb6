"""Name the units of a layer by words: soft-WPMI ranks them, a sparse sum of their cosines explains peaks.

A unit's sample is what an index keeps of it with an activation and a position: the images of its highest
peaks, and those from each tenth of its range. Words are chosen on the sample's images of half 0, and
judged by their correlation with the peaks of half 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from pipeline.naming.greedy import MAX_TERMS
from pipeline.naming.linear import explain_linearly, pearson
from pipeline.naming.name_units import FLOOR, MIN_IMAGES
from pipeline.naming.soft_wpmi import LONGEST, log_likelihood, soft_wpmi

__all__ = ["LayerSample", "WordName", "WordSource", "name_layer"]

Floats32 = npt.NDArray[np.float32]

WordSource = Literal["words", "linear"]
"""Ranked by soft-WPMI, or terms of a sparse sum."""

_DEVIATIONS = 3
"""Standard deviations of the correlation of shuffled images, 1 / sqrt(N - 1). A sample has some fifty images,
so that the four of names from labels would drop most that are true."""


@dataclass(frozen=True, slots=True)
class LayerSample:
    """What is recorded of the units of a layer: one entry per unit and image, sorted by unit.

    Args:
        units: of the layer.
        unit: (entry,) int64.
        patch: (entry,) int64, row of the embeddings.
        rank: (entry,) int64, place in the list of highest peaks, from 1; 0 for the others.
        peak: (entry,) float64.
        half: (entry,) int64, 0 or 1.
        photograph: (entry,) int64, the same for near-duplicates and for crops of one photograph.
    """

    units: int
    unit: npt.NDArray[np.int64]
    patch: npt.NDArray[np.int64]
    rank: npt.NDArray[np.int64]
    peak: npt.NDArray[np.float64]
    half: npt.NDArray[np.int64]
    photograph: npt.NDArray[np.int64]

    def of_unit(self, unit: int) -> slice:
        """The entries of a unit."""
        first, end = np.searchsorted(self.unit, (unit, unit + 1))
        return slice(int(first), int(end))


@dataclass(frozen=True, slots=True)
class WordName:
    """A word for a unit.

    Args:
        unit: its number.
        source: how it was chosen.
        word: row of the vocabulary.
        correlation: of the unit's peaks with the word's cosines, over both halves of the sample.
        held_out: the same over half 1.
        combined: over half 1, with the weighted sum up to this word; None for ranked words.
        images: of the sample, both halves.
        weight: of the word in the sum; None for ranked words.
    """

    unit: int
    source: WordSource
    word: int
    correlation: float
    held_out: float
    combined: float | None
    images: int
    weight: float | None


@dataclass(frozen=True, slots=True)
class _Unit:
    """One unit's sample, and its half 0 and 1 as masks."""

    number: int
    patch: npt.NDArray[np.int64]
    rank: npt.NDArray[np.int64]
    peak: npt.NDArray[np.float64]
    chooses: npt.NDArray[np.bool_]
    judges: npt.NDArray[np.bool_]
    least: tuple[float, float]

    @classmethod
    def of(cls, sample: LayerSample, number: int) -> _Unit:
        rows = sample.of_unit(number)
        chooses = sample.half[rows] == 0
        photographs = sample.photograph[rows]
        # Crops of one photograph are no independent witnesses.
        counts = [len(np.unique(photographs[mask])) for mask in (chooses, ~chooses)]
        least = [_least_correlation(count) for count in counts]
        return cls(
            number,
            sample.patch[rows],
            sample.rank[rows],
            sample.peak[rows],
            chooses,
            ~chooses,
            (least[0], least[1]),
        )

    @property
    def listed(self) -> npt.NDArray[np.bool_]:
        """The images of the highest peaks by which words are chosen."""
        found: npt.NDArray[np.bool_] = self.chooses & (self.rank > 0) & (self.rank <= LONGEST)
        return found


def _least_correlation(photographs: int) -> float:
    """The correlation from which a word is taken or shown, over a half of so many photographs."""
    if photographs < MIN_IMAGES:
        return float("inf")
    return max(FLOOR, float(_DEVIATIONS / np.sqrt(photographs - 1)))


def name_layer(
    sample: LayerSample,
    embeddings: Floats32,
    words: Floats32,
    *,
    advance: Callable[[], None] = lambda: None,
) -> Iterator[WordName]:
    """Name the units of a layer: for each the ranked words, then the terms of a sum.

    Args:
        sample: of the layer's units.
        embeddings: (patch, dimension) of length 1.
        words: (word, dimension) of length 1.
        advance: called for each unit when its words have been compared.
    """
    units = [_Unit.of(sample, number) for number in range(sample.units)]
    likelihood = np.zeros((len(units), len(words)))
    images = np.zeros(len(units), np.int64)
    sums: list[list[WordName]] = []
    for unit in units:
        scores = _cosines(embeddings[unit.patch], words)
        listed = unit.listed
        images[unit.number] = listed.sum() if listed.sum() >= MIN_IMAGES else 0
        likelihood[unit.number] = log_likelihood(scores[listed], unit.rank[listed])
        sums.append(list(_linear(unit, scores)))
        advance()
    ranked = soft_wpmi(likelihood, images)
    for unit in units:
        if images[unit.number]:
            yield from _ranked(unit, ranked[unit.number], embeddings, words)
        yield from sums[unit.number]


def _cosines(patches: Floats32, words: Floats32) -> npt.NDArray[np.float64]:
    """(patch, word); multiplied in the precision of the embeddings, which takes half as long."""
    return np.asarray(patches @ words.T, np.float64)


def _ranked(
    unit: _Unit,
    values: npt.NDArray[np.float64],
    embeddings: Floats32,
    words: Floats32,
) -> Iterator[WordName]:
    """The best words by soft-WPMI, up to the first that does not hold on half 1."""
    best = np.argsort(-values, kind="stable")[:MAX_TERMS]
    scores = _cosines(embeddings[unit.patch], words[best])
    held_out = (
        pearson(scores[unit.judges], unit.peak[unit.judges]) if unit.judges.any() else np.zeros(len(best))
    )
    both = pearson(scores, unit.peak)
    for place, word in enumerate(best):
        if held_out[place] < unit.least[1]:
            return
        yield WordName(
            unit.number,
            "words",
            int(word),
            float(both[place]),
            float(held_out[place]),
            None,
            len(unit.patch),
            None,
        )


def _linear(unit: _Unit, scores: npt.NDArray[np.float64]) -> Iterator[WordName]:
    """The terms of a sum that is chosen on half 0, up to the first that does not hold on half 1."""
    if not unit.chooses.any() or not unit.judges.any():
        return
    found = explain_linearly(scores[unit.chooses], unit.peak[unit.chooses], unit.least[0])
    terms = scores[:, found.words]
    judged, peaks = terms[unit.judges], unit.peak[unit.judges]
    held_out, both = pearson(judged, peaks), pearson(terms, unit.peak)
    kept = int(np.logical_and.accumulate(held_out >= unit.least[1]).sum())
    for place in range(kept):
        together = judged[:, : place + 1] @ found.weights[place]
        yield WordName(
            unit.number,
            "linear",
            int(found.words[place]),
            float(both[place]),
            float(held_out[place]),
            float(pearson(together[:, None], peaks)[0]),
            len(unit.patch),
            float(found.weights[kept - 1][place]),
        )
