"""Which concepts have images in common: all pairs in memory where they are few, else found when asked for.

An entry is N times the images that two concepts share less the product of their numbers of images. Both
forms have the same bits: the numbers of images are exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from pipeline.naming.label_sets import LabelSets

__all__ = ["DenseGram", "Gram", "SetGram"]

Floats = npt.NDArray[np.float64]
Ids = npt.NDArray[np.int64]


class Gram(Protocol):
    """A symmetric matrix (concept, concept)."""

    def diagonal(self) -> Floats:
        """(concept,) N n - n^2."""

    def rows(self, concepts: Ids) -> Floats:
        """(row, concept) the rows of some concepts; a copy."""

    def pairs(self, first: Ids, second: Ids) -> Floats:
        """The entries of pairs, of the shape that the two broadcast to."""


@dataclass(frozen=True, slots=True)
class DenseGram:
    """All entries.

    Args:
        values: (concept, concept) float64.
    """

    values: Floats

    def diagonal(self) -> Floats:
        """See `Gram`."""
        return self.values.diagonal()

    def rows(self, concepts: Ids) -> Floats:
        """See `Gram`."""
        return self.values[concepts]

    def pairs(self, first: Ids, second: Ids) -> Floats:
        """See `Gram`."""
        found: Floats = self.values[first, second]
        return found


@dataclass(frozen=True, slots=True)
class SetGram:
    """Entries that are counted when they are asked for.

    Args:
        sets: the labels of each concept.
        above: the concepts that have each label.
        label_images: (label,) images of each label.
        images: N, of all labels.
        own: (concept,) float64, n.
    """

    sets: LabelSets
    above: LabelSets
    label_images: npt.NDArray[np.int64]
    images: int
    own: Floats

    def diagonal(self) -> Floats:
        """See `Gram`."""
        return self.images * self.own - self.own * self.own

    def rows(self, concepts: Ids) -> Floats:
        """See `Gram`."""
        different, place = np.unique(concepts, return_inverse=True)
        together = np.empty((len(different), len(self.sets)))
        for row, concept in enumerate(different.tolist()):
            members = self.sets.members(concept)
            above = self.above.chosen(members)
            images = np.repeat(self.label_images[members], above.sizes)
            together[row] = np.bincount(above.member, images, len(self.sets))
        found: Floats = (self.images * together - np.outer(self.own[different], self.own))[place]
        return found

    def pairs(self, first: Ids, second: Ids) -> Floats:
        """See `Gram`."""
        one, other = np.broadcast_arrays(first, second)
        asked = np.stack([np.minimum(one, other).reshape(-1), np.maximum(one, other).reshape(-1)])
        different, place = np.unique(asked, axis=1, return_inverse=True)
        together = np.empty(different.shape[1])
        for column, (low, high) in enumerate(different.T.tolist()):
            shared = np.intersect1d(self.sets.members(low), self.sets.members(high), assume_unique=True)
            together[column] = self.label_images[shared].sum()
        entries = self.images * together - self.own[different[0]] * self.own[different[1]]
        found: Floats = entries[place.reshape(-1)].reshape(one.shape)
        return found
