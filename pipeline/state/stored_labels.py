"""The sums per label of committed parts, added up out of core."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipeline.state.label_sums import HALVES, LabelSums, StoredTotals
from pipeline.state.part_blocks import LabelTable, read_squares
from pipeline.state.prefetch import prefetch
from pipeline.store.rows import Rows

__all__ = ["PartLabels", "StoredLabels", "gather_labels"]

Piece = tuple[slice, tuple[npt.NDArray[np.float64], ...]]


class StoredLabels:
    """Adds up the sums per label of parts.

    Args:
        units: of all layers together.
        scratch: folder for a file without a name, where the sums do not fit into memory.
        stack: closes the sums.
    """

    def __init__(self, units: int, scratch: Path, stack: ExitStack) -> None:
        self._rows = stack.enter_context(Rows(scratch, units))
        self._number: dict[str, int] = {}
        self._images = np.zeros((HALVES, 0), np.int64)
        self._squares = np.zeros((HALVES, units))

    def add(self, part: PartLabels) -> None:
        """Add a part.

        Raises:
            StoreError: when it cannot be read, or the disk is full.
        """
        own = np.array([self._number.setdefault(label, len(self._number)) for label in part.labels], np.int64)
        more = len(self._number) - self._images.shape[1]
        self._images = np.pad(self._images, ((0, 0), (0, more)))
        self._images[:, own] += part.images
        self._rows.grow(HALVES * len(self._number))
        for span, totals in part.totals():
            for half, total in enumerate(totals):
                self._rows.add(HALVES * own[span] + half, total)
        if part.squares is not None:
            self._squares = self._squares + part.squares

    def sums(self) -> LabelSums:
        """What was added."""
        labels = tuple(sorted(self._number))
        order = np.array([self._number[label] for label in labels], np.int64)
        place = np.stack([HALVES * order + half for half in range(HALVES)])
        return LabelSums(labels, self._images[:, order], StoredTotals(self._rows, place), self._squares)


@dataclass(frozen=True, slots=True)
class PartLabels:
    """The sums per label of one part.

    Args:
        folder: of its tables.
        units: of all layers together.
        labels: sorted.
        images: (half, label).
        pieces: the sums, where they are small: spans of labels, and of each half (label, unit).
        squares: (half, unit) where they were asked for.
    """

    folder: Path
    units: int
    labels: tuple[str, ...]
    images: npt.NDArray[np.int64]
    pieces: tuple[Piece, ...] | None
    squares: npt.NDArray[np.float64] | None

    @classmethod
    def read(cls, folder: Path, units: int, *, squares: bool) -> PartLabels:
        """Read what is small of a part.

        Raises:
            StoreError: when it cannot be read, or is of an earlier version.
        """
        with LabelTable(folder, units) as table:
            pieces = tuple(table.totals()) if table.is_small else None
        found = read_squares(folder) if squares else None
        return cls(folder, units, table.labels, table.images, pieces, found)

    def totals(self) -> Iterator[Piece]:
        """The sums, read a span of labels at a time where they are not small.

        Raises:
            StoreError: when they cannot be read.
        """
        if self.pieces is not None:
            yield from self.pieces
            return
        with LabelTable(self.folder, self.units) as table:
            yield from table.totals()


def gather_labels(folders: Sequence[Path], units: int, scratch: Path, stack: ExitStack) -> LabelSums:
    """Add up the sums per label of parts, with the sums of squares.

    Args:
        folders: of the parts' tables, in the order in which sums are added.
        units: of all layers together.
        scratch: folder for a file without a name, where the sums do not fit into memory.
        stack: closes the sums.

    Raises:
        StoreError: when a part cannot be read, or the disk is full.
    """
    stored = StoredLabels(units, scratch, stack)
    read = partial(PartLabels.read, units=units, squares=True)
    with closing(prefetch(read, folders)) as parts:
        for _, part in parts:
            stored.add(part)
    return stored.sums()
