"""Sums of every unit's peaks per label, kept apart for two halves of the images.

Labels name units (see `pipeline.naming`): a name is chosen on one half and judged on the other, so each
half has sums of its own. Sums merge in float64: exactly where peaks are integers; otherwise the same
grouping of images gives the same bits, and another grouping agrees to about 1e-12.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from pipeline.store.rows import Rows

if TYPE_CHECKING:
    from pipeline.data.shard import Sample

__all__ = ["HALVES", "LabelSums", "StoredTotals", "half_by", "half_of", "selectivity"]

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
class StoredTotals:
    """Sums of peaks per half and label that may not fit into memory.

    Args:
        rows: sums over the units, one row for each half and label that occur together, in any order.
        place: (half, label) int64, the row of each; -1 where it has no image.
    """

    rows: Rows
    place: npt.NDArray[np.int64]

    def read(self, half: int, labels: slice, units: slice) -> npt.NDArray[np.float64]:
        """(label, unit) float64, the sums of spans of both over a half."""
        place = self.place[half, labels]
        known = (place >= 0).nonzero()[0]
        if len(known) == len(place):
            return self.rows.read(place, units)
        first, last, _ = units.indices(self.rows.width)
        answer = np.zeros((len(place), last - first))
        answer[known] = self.rows.read(place[known], units)
        return answer


@dataclass(frozen=True, slots=True)
class LabelSums:
    """Sums of peaks per label, over the images that have one.

    Args:
        labels: sorted names.
        images: (half, label) int64.
        total: (half, label, unit) float64, sums of peaks; an array, or in a file.
        squares: (half, unit) float64, sums of squared peaks over all labels.
    """

    labels: tuple[str, ...]
    images: npt.NDArray[np.int64]
    total: npt.NDArray[np.float64] | StoredTotals
    squares: npt.NDArray[np.float64]

    @classmethod
    def empty(cls, units: int) -> LabelSums:
        """The sums of no images."""
        return cls(
            (),
            np.zeros((HALVES, 0), np.int64),
            np.zeros((HALVES, 0, units)),
            np.zeros((HALVES, units)),
        )

    @property
    def units(self) -> int:
        """The number of units."""
        return int(self.squares.shape[1])

    @property
    def label_images(self) -> npt.NDArray[np.int64]:
        """(label,) int64, the images of each label, of both halves."""
        counts: npt.NDArray[np.int64] = self.images.sum(axis=0)
        return counts

    def read(
        self, half: int, units: slice = slice(None), *, labels: slice = slice(None)
    ) -> npt.NDArray[np.float64]:
        """(label, unit) float64, the sums of spans of labels and units over a half."""
        if isinstance(self.total, StoredTotals):
            return self.total.read(half, labels, units)
        found: npt.NDArray[np.float64] = self.total[half, labels, units]
        return found

    def means(self, units: slice = slice(None)) -> npt.NDArray[np.float64]:
        """(label, unit) float64, the mean peak over each label's images, of both halves.

        Args:
            units: a span of units; all by default.
        """
        total = self.read(0, units) + self.read(1, units)
        mean: npt.NDArray[np.float64] = total / self.label_images[:, None]
        return mean

    def renamed(self, names: Mapping[str, str]) -> LabelSums:
        """The same sums of labels with other names, sorted by these.

        Args:
            names: by label; all of them different.
        """
        order = sorted(range(len(self.labels)), key=lambda row: names[self.labels[row]])
        total = self.total
        if isinstance(total, StoredTotals):
            total = replace(total, place=total.place[:, order])
        else:
            total = total[:, order]
        labels = tuple(names[self.labels[row]] for row in order)
        return replace(self, labels=labels, images=self.images[:, order], total=total)


def selectivity(
    means: npt.NDArray[np.float64], low: npt.NDArray[np.float32]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Class selectivity of every unit (Morcos et al. 2018, arXiv:1803.06959).

    (a - b) / (a + b), with a the highest mean peak of a label and b the mean over the other
    labels' mean peaks. The index is meant for non-negative activations, so the peaks of a unit
    whose minimum is negative are first shifted up by that minimum.

    Args:
        means: (label, unit) mean peaks over the images of each label.
        low: (unit,) the minimum peak.

    Returns:
        (unit,) float32 in 0..1, NaN with fewer than two labels; and (unit,) the row of the label a.
    """
    labels, units = means.shape
    if labels < 2:
        return np.full(units, np.nan, np.float32), np.zeros(units, np.int64)
    mean = means - np.minimum(low, 0)
    best = mean.argmax(axis=0)
    top = mean[best, np.arange(units)]
    rest = (mean.sum(axis=0) - top) / (labels - 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        index = np.where(top + rest > 0, (top - rest) / (top + rest), 0)
    return index.astype(np.float32), best
