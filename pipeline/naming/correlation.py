"""The Pearson correlation of peaks with concepts, from sums alone.

A concept is 1 on its n images of N and 0 on the others. With S the sum of a unit's peaks, T that over
the concept's images and Q the sum of squares,

    r = (N T - n S) / sqrt((N Q - S^2) n (N - n)),

which is Pearson's r over all N images. Peaks that are integers give it exactly; otherwise it is within
1e-12 * Q N / (N Q - S^2) of r, which only matters where the spread is tiny beside the mean.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.naming.concepts import Concepts
from pipeline.state.label_sums import LabelSums

__all__ = ["ConceptCounts", "PeakSums", "concept_counts", "correlations", "peak_sums", "spread_of"]

Floats = npt.NDArray[np.float64]

_CONSTANT = 1e-10
"""A spread below this share of the mean square cannot be told from rounding."""


@dataclass(frozen=True, slots=True)
class ConceptCounts:
    """How many images of a half the concepts have, alone and together.

    Args:
        images: N, of the half.
        own: (concept,) float64, n.
        gram: (concept, concept) float64, N times the images of both less the product of their n.
    """

    images: int
    own: Floats
    gram: Floats


@dataclass(frozen=True, slots=True)
class PeakSums:
    """Peaks of a span of units over a half, against concepts.

    Args:
        inside: (concept, unit) float64, T.
        total: (unit,) float64, S.
        covariance: (concept, unit) float64, N T - n S.
        variance: (unit,) float64, N Q - S^2; 0 for a unit whose peaks do not vary.
        squares: (unit,) float64, Q.
    """

    inside: Floats
    total: Floats
    covariance: Floats
    variance: Floats
    squares: Floats


def concept_counts(concepts: Concepts, label_images: npt.NDArray[np.int64]) -> ConceptCounts:
    """Count the images of concepts in a half.

    Args:
        concepts: sets of labels.
        label_images: (label,) of the half.
    """
    members = concepts.members.astype(np.float64)
    own = members @ label_images
    together = (members * label_images) @ members.T
    images = int(label_images.sum())
    return ConceptCounts(images, own, images * together - np.outer(own, own))


def peak_sums(
    concepts: Concepts, sums: LabelSums, counts: ConceptCounts, half: int, units: slice
) -> PeakSums:
    """Covariances of a span of units with concepts, over a half.

    Args:
        concepts: sets of labels.
        sums: of peaks per label.
        counts: of the concepts in the half.
        half: 0 or 1.
        units: the span.
    """
    total = sums.read(half, units)
    single = concepts.members.sum(axis=1) == 1
    inside = np.empty((len(single), total.shape[1]))
    inside[single] = total[concepts.members[single].argmax(axis=1)]
    inside[~single] = concepts.members[~single].astype(np.float64) @ total
    whole, squares = total.sum(axis=0), sums.squares[half, units]
    return PeakSums(
        inside,
        whole,
        counts.images * inside - counts.own[:, None] * whole,
        spread_of(counts.images, whole, squares),
        squares,
    )


def spread_of(images: int, total: Floats, squares: Floats) -> Floats:
    """N Q - S^2, and 0 where it is no more than rounding."""
    squares = images * squares
    variance = squares - total**2
    return np.where(variance > _CONSTANT * squares, variance, 0.0)


def correlations(covariance: Floats, variance: Floats, spread: Floats) -> Floats:
    """Pearson's r; 0 where peaks or concept do not vary.

    Args:
        covariance: N T - n S, of any shape.
        variance: N Q - S^2, broadcast.
        spread: n (N - n), broadcast.
    """
    product = np.sqrt(variance * spread)
    return np.divide(covariance, product, out=np.zeros_like(covariance), where=product > 0)
