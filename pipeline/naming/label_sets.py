"""Sets of labels, of which only the members are kept: 4 bytes each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["LabelSets"]

_GATHERED_BYTES = 64 << 20
"""Bytes of members' values that are gathered at once, about."""


@dataclass(frozen=True, slots=True)
class LabelSets:
    """Which labels each of some sets has.

    Args:
        start: (set + 1,) int64, where the members of each begin; the last is their number.
        member: (members,) int32, the labels of one set after another, rising in each.
        labels: number of labels.
    """

    start: npt.NDArray[np.int64]
    member: npt.NDArray[np.int32]
    labels: int

    @classmethod
    def of(cls, sets: Iterable[Iterable[int]], labels: int) -> LabelSets:
        """Sets of labels, given as their numbers."""
        rows = [np.sort(np.fromiter(each, np.int32)) for each in sets]
        start = np.cumsum([0, *map(len, rows)], dtype=np.int64)
        return cls(start, np.concatenate([np.zeros(0, np.int32), *rows]), labels)

    @classmethod
    def of_matrix(cls, matrix: npt.NDArray[np.bool_]) -> LabelSets:
        """The sets of a matrix (set, label)."""
        start = np.concatenate([[0], matrix.sum(axis=1).cumsum()]).astype(np.int64)
        return cls(start, matrix.nonzero()[1].astype(np.int32), matrix.shape[1])

    def __len__(self) -> int:
        """The number of sets."""
        return len(self.start) - 1

    @property
    def sizes(self) -> npt.NDArray[np.int64]:
        """(set,) the number of members."""
        return np.diff(self.start)

    def members(self, row: int) -> npt.NDArray[np.int32]:
        """The labels of a set, rising."""
        return self.member[self.start[row] : self.start[row + 1]]

    def chosen(self, rows: npt.NDArray[np.integer[Any]]) -> LabelSets:
        """Some of the sets."""
        sizes = self.sizes[rows]
        start = np.concatenate([[0], sizes.cumsum()]).astype(np.int64)
        place = np.repeat(self.start[rows] - start[:-1], sizes) + np.arange(start[-1])
        return LabelSets(start, self.member[place], self.labels)

    def transposed(self) -> LabelSets:
        """For each label the sets that have it."""
        order = np.argsort(self.member, kind="stable")
        start = np.concatenate([[0], np.bincount(self.member, minlength=self.labels).cumsum()])
        sets = np.repeat(np.arange(len(self), dtype=np.int32), self.sizes)
        return LabelSets(start.astype(np.int64), sets[order], len(self))

    def matrix(self) -> npt.NDArray[np.bool_]:
        """(set, label) whether a set has a label."""
        matrix = np.zeros((len(self), self.labels), np.bool_)
        matrix[np.repeat(np.arange(len(self)), self.sizes), self.member] = True
        return matrix

    def totals(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Values of labels added up over the members of each set, in their order.

        Args:
            values: (label, column).

        Returns:
            (set, column) of the same type.
        """
        totals = np.zeros((len(self), values.shape[1]), values.dtype)
        full = self.sizes.nonzero()[0]
        for rows in self._blocks(full, values.itemsize * max(values.shape[1], 1)):
            first, last = self.start[rows[0]], self.start[rows[-1] + 1]
            gathered = values[self.member[first:last]]
            totals[rows] = np.add.reduceat(gathered, self.start[rows] - first, axis=0)
        return totals

    def _blocks(self, rows: npt.NDArray[np.int64], member_bytes: int) -> Iterator[npt.NDArray[np.int64]]:
        """The sets in blocks of members that take few bytes together; at least one set each."""
        begin = 0
        while begin < len(rows):
            bound = self.start[rows[begin]] + _GATHERED_BYTES // member_bytes
            end = max(begin + 1, int(np.searchsorted(self.start[rows + 1], bound, side="right")))
            yield rows[begin:end]
            begin = end
