"""The sums per label of committed parts, added up out of core."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipeline.state.label_sums import HALVES, LabelSums, StoredTotals
from pipeline.state.part_blocks import iterate_label_totals, read_labels, read_squares
from pipeline.store.rows import Rows

__all__ = ["gather_labels"]


def gather_labels(
    folders: Sequence[Path],
    units: int,
    scratch: Path,
    stack: ExitStack,
    advance: Callable[[], object] = int,
) -> LabelSums:
    """Add up the sums per label of parts.

    Args:
        folders: of the parts' tables, in the order in which sums are added.
        units: of all layers together.
        scratch: folder for a file without a name, where the sums do not fit into memory.
        stack: closes the sums.
        advance: called for each part.

    Raises:
        StoreError: when a part cannot be read, or the disk is full.
    """
    rows = stack.enter_context(Rows(scratch, units))
    number: dict[str, int] = {}
    images = np.zeros((HALVES, 0), np.int64)
    squares = np.zeros((HALVES, units))
    for folder in folders:
        labels, counts = read_labels(folder)
        own = np.array([number.setdefault(label, len(number)) for label in labels], np.int64)
        images = _widen(images, len(number))
        images[:, own] += counts
        rows.grow(HALVES * len(number))
        if labels:
            for span, totals in iterate_label_totals(folder, units):
                for half, total in enumerate(totals):
                    rows.add(HALVES * own[span] + half, total)
            squares = squares + read_squares(folder)
        advance()
    order = np.array([number[label] for label in sorted(number)], np.int64)
    place = np.stack([HALVES * order + half for half in range(HALVES)])
    return LabelSums(tuple(sorted(number)), images[:, order], StoredTotals(rows, place), squares)


def _widen(images: npt.NDArray[np.int64], labels: int) -> npt.NDArray[np.int64]:
    more = labels - images.shape[1]
    return np.pad(images, ((0, 0), (0, more))) if more else images
