"""Sums of every unit's peaks per label, kept apart for two halves of the images.

Labels name units (see `pipeline.naming`): a name is chosen on one half and judged on the other, so each
half has sums of its own. Sums merge in float64: exactly where peaks are integers; otherwise the same
grouping of images gives the same bits, and another grouping agrees to about 1e-12.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from pipeline.data.shard import Sample

__all__ = ["HALVES", "LabelSums", "half_by", "half_of", "merge_labels", "selectivity"]

HALVES = 2
"""Names are chosen on the images of half 0, and judged on those of half 1."""


def half_of(sample: Sample) -> int:
    """The half of an image, 0 or 1: the lowest bit of a hash, the same on every machine.

    Copies of one file, and images that are known to be cut from one photograph, are in the same half.
    """
    return half_by(sample.origin, sample.digest)


def half_by(origin: str | None, digest: int) -> int:
    """The half of an image by what the table of images has of it.

    Args:
        origin: photograph that it was cut from, if known.
        digest: of its bytes.
    """
    if origin is not None:
        return hashlib.blake2b(origin.encode(), digest_size=1).digest()[0] & 1
    return digest & 1


@dataclass(frozen=True, slots=True)
class LabelSums:
    """Sums of peaks per label, over the images that have one.

    Args:
        labels: sorted names.
        images: (half, label) int64.
        total: (half, label, unit) float64, sums of peaks.
        squares: (half, unit) float64, sums of squared peaks over all labels.
    """

    labels: tuple[str, ...]
    images: npt.NDArray[np.int64]
    total: npt.NDArray[np.float64]
    squares: npt.NDArray[np.float64]

    @classmethod
    def empty(cls, units: int) -> LabelSums:
        """The identity of `merge_labels`."""
        return cls(
            (),
            np.zeros((HALVES, 0), np.int64),
            np.zeros((HALVES, 0, units)),
            np.zeros((HALVES, units)),
        )

    @property
    def label_images(self) -> npt.NDArray[np.int64]:
        """(label,) int64, the images of each label, of both halves."""
        counts: npt.NDArray[np.int64] = self.images.sum(axis=0)
        return counts

    def means(self, units: slice = slice(None)) -> npt.NDArray[np.float64]:
        """(label, unit) float64, the mean peak over each label's images, of both halves.

        Args:
            units: a span of units; all by default.
        """
        total = self.total[0, :, units] + self.total[1, :, units]
        mean: npt.NDArray[np.float64] = total / self.label_images[:, None]
        return mean


def merge_labels(first: LabelSums, second: LabelSums) -> LabelSums:
    """Sums over the union of two disjoint sets of images."""
    labels = tuple(sorted({*first.labels, *second.labels}))
    row = {label: number for number, label in enumerate(labels)}
    images = np.zeros((HALVES, len(labels)), np.int64)
    total = np.zeros((HALVES, len(labels), first.total.shape[2]))
    for part in (first, second):
        rows = np.array([row[label] for label in part.labels], np.int64)
        images[:, rows] += part.images
        total[:, rows] += part.total
    return LabelSums(labels, images, total, first.squares + second.squares)


def selectivity(
    sums: LabelSums, low: npt.NDArray[np.float32]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Class selectivity of every unit (Morcos et al. 2018, arXiv:1803.06959).

    (a - b) / (a + b), with a the highest mean peak of a label and b the mean over the other
    labels' mean peaks. The index is meant for non-negative activations, so the peaks of a unit
    whose minimum is negative are first shifted up by that minimum.

    Args:
        sums: over the indexed images that have a label.
        low: (unit,) the minimum peak.

    Returns:
        (unit,) float32 in 0..1, NaN with fewer than two labels; and (unit,) the row of the label a.
    """
    units = sums.total.shape[2]
    if len(sums.labels) < 2:
        return np.full(units, np.nan, np.float32), np.zeros(units, np.int64)
    mean = sums.means() - np.minimum(low, 0)
    best = mean.argmax(axis=0)
    top = mean[best, np.arange(units)]
    rest = (mean.sum(axis=0) - top) / (len(sums.labels) - 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        index = np.where(top + rest > 0, (top - rest) / (top + rest), 0)
    return index.astype(np.float32), best
