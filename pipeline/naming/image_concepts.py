"""Concepts of single images, several of which may have each, against the peaks of all images.

The sums are those that names from labels are made of (`pipeline.naming.correlation`), taken from the peaks
themselves instead of from sums per label.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.naming.correlation import ConceptCounts, Floats, PeakSums, spread_of
from pipeline.naming.gram import DenseGram
from pipeline.naming.name_units import MIN_IMAGES
from pipeline.state.label_sums import HALVES

__all__ = ["ImageConcepts", "count_images", "eligible_concepts", "sum_peaks"]

_IMAGES_AT_ONCE = 8192

Rows = tuple[npt.NDArray[np.int64], ...]


@dataclass(frozen=True, slots=True)
class ImageConcepts:
    """Which images have which concepts.

    Args:
        rows: for each concept the rows of its images, rising.
        half: (image,) int8, the half of each image; -1 for images of which nothing is known.
    """

    rows: Rows
    half: npt.NDArray[np.int8]

    def of_half(self, half: int) -> Rows:
        """For each concept the rows of its images of a half."""
        return tuple(rows[self.half[rows] == half] for rows in self.rows)


def eligible_concepts(concepts: ImageConcepts) -> npt.NDArray[np.int64]:
    """The concepts that enough images of either half have, and lack."""
    images = np.array([(concepts.half == half).sum() for half in range(HALVES)])
    counts = np.array(
        [[len(rows) for rows in concepts.of_half(half)] for half in range(HALVES)], np.int64
    ).reshape(HALVES, -1)
    enough = np.minimum(counts, images[:, None] - counts) >= MIN_IMAGES
    return np.asarray(np.flatnonzero(enough.all(axis=0)), np.int64)


def count_images(concepts: ImageConcepts) -> list[ConceptCounts]:
    """How many images of each half have each concept, and each two of them."""
    return [_count(concepts.of_half(half), (concepts.half == half).nonzero()[0]) for half in range(HALVES)]


def _count(rows: Rows, images: npt.NDArray[np.int64]) -> ConceptCounts:
    """Counts over one half, exact: products of zeros and ones, added in float64."""
    together = np.zeros((len(rows), len(rows)))
    for first in range(0, len(images), _IMAGES_AT_ONCE):
        chunk = images[first : first + _IMAGES_AT_ONCE]
        has = np.zeros((len(chunk), len(rows)), np.float32)
        for concept, each in enumerate(rows):
            inside = each[np.searchsorted(each, chunk[0]) : np.searchsorted(each, chunk[-1], side="right")]
            has[np.searchsorted(chunk, inside), concept] = 1
        together += has.T @ has
    own = together.diagonal().copy()
    return ConceptCounts(len(images), own, DenseGram(len(images) * together - np.outer(own, own)))


def sum_peaks(
    concepts: ImageConcepts, counts: list[ConceptCounts], peaks: npt.NDArray[np.float32]
) -> list[PeakSums]:
    """Covariances of a span of units with concepts, over each half.

    Args:
        concepts: of images.
        counts: of them, of each half.
        peaks: (unit, image), of all images.
    """
    by_image = np.ascontiguousarray(peaks.T)
    found = []
    for half, count in enumerate(counts):
        images = (concepts.half == half).nonzero()[0]
        inside = np.array([_total(by_image, rows) for rows in concepts.of_half(half)]).reshape(-1, len(peaks))
        total = _total(by_image, images)
        squares = _squares(by_image, images)
        covariance = count.images * inside - count.own[:, None] * total
        variance = spread_of(count.images, total, squares)
        found.append(PeakSums(inside, total, covariance, variance, squares))
    return found


def _total(by_image: npt.NDArray[np.float32], rows: npt.NDArray[np.int64]) -> Floats:
    """(unit,) sums of the peaks of some images."""
    return np.asarray(by_image[rows].sum(axis=0, dtype=np.float64), np.float64)


def _squares(by_image: npt.NDArray[np.float32], rows: npt.NDArray[np.int64]) -> Floats:
    squares = np.zeros(by_image.shape[1])
    for first in range(0, len(rows), _IMAGES_AT_ONCE):
        block = by_image[rows[first : first + _IMAGES_AT_ONCE]].astype(np.float64)
        squares += np.einsum("iu,iu->u", block, block)
    return squares
