"""The most common label of each unit's top images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.image_id import POSITION_BITS
from pipeline.state.topk import NO_IMAGE
from pipeline.store.rows import Rows

__all__ = ["ImageLabels", "majority"]

_POSITIONS = 1 << 10
"""Positions of a shard whose labels are held, and read, together."""

_MEMORY = 64 << 20
"""Bytes of labels that are held in memory."""

_NONE = -1

Codes = npt.NDArray[np.int32]


class ImageLabels:
    """The label of every image by its image_id, in a file where they do not fit into memory; to be closed.

    Args:
        folder: for a file without a name.
        labels: known already; their places are their numbers.
    """

    def __init__(self, folder: Path, labels: Sequence[str] = ()) -> None:
        self.labels = list(labels)
        self._number = {label: number for number, label in enumerate(self.labels)}
        self._rows = Rows(folder, _POSITIONS, np.int32, memory=_MEMORY)
        self._spans: dict[int, tuple[int, int]] = {}

    def __enter__(self) -> Self:
        """The labels."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Forget them."""
        self._rows.close()

    def add(self, images: pa.Table) -> None:
        """Add images of one shard; shards come in order, and the images of each by image_id.

        Raises:
            StoreError: when the disk is full.
        """
        if not images.num_rows:
            return
        ids = images["image_id"].to_numpy()
        shard, position = int(ids[0]) >> POSITION_BITS, ids & ((1 << POSITION_BITS) - 1)
        first, _ = self._spans.get(shard, (self._rows.count, 0))
        start, count = int(position.min()) // _POSITIONS, int(position.max()) // _POSITIONS + 1
        self._spans[shard] = first, count
        self._rows.grow(first + count)
        rows = np.arange(first + start, first + count)
        held = self._rows.read(rows)
        codes = self._codes(images["label"].combine_chunks())
        held.reshape(-1)[position - start * _POSITIONS] = codes - _NONE
        self._rows.write(rows, held)

    def of(self, image_ids: npt.NDArray[np.int64]) -> Codes:
        """The number of each image's label, -1 where it has none; of any shape.

        Raises:
            StoreError: when the file cannot be read.
        """
        answer = np.full(image_ids.shape, _NONE, np.int32)
        known = image_ids != NO_IMAGE
        ids, back = np.unique(image_ids[known], return_inverse=True)
        ordinals, shard = np.unique(ids >> POSITION_BITS, return_inverse=True)
        spans = [self._spans.get(ordinal, (0, 0)) for ordinal in ordinals.tolist()]
        first, count = np.array([*spans, (0, 0)], np.int64)[shard].T
        position = ids & ((1 << POSITION_BITS) - 1)
        there = (position // _POSITIONS < count).nonzero()[0]
        codes = np.full(len(ids), _NONE, np.int32)
        codes[there] = self._read((first + position // _POSITIONS)[there], (position % _POSITIONS)[there])
        answer[known] = codes[back]
        return answer

    def _read(self, row: npt.NDArray[np.int64], column: npt.NDArray[np.int64]) -> Codes:
        """Numbers of labels by their places, rows rising; a bounded number of rows is read at a time."""
        codes = np.empty(len(row), np.int32)
        wanted, starts = np.unique(row, return_index=True)
        for begin in range(0, len(wanted), _POSITIONS):
            rows = wanted[begin : begin + _POSITIONS]
            end = begin + len(rows)
            span = slice(starts[begin], starts[end] if end < len(wanted) else len(row))
            found = self._rows.read(rows)
            codes[span] = found[np.searchsorted(rows, row[span]), column[span]]
        return codes + np.int32(_NONE)

    def names(self, codes: npt.NDArray[np.integer]) -> pa.Array:
        """Labels by their numbers; null for -1."""
        return pa.array([*self.labels, None], pa.string()).take(pa.array(codes % (len(self.labels) + 1)))

    def _codes(self, labels: pa.DictionaryArray) -> Codes:
        known: list[str | None] = labels.dictionary.to_pylist()
        for label in known:
            if label is not None and label not in self._number:
                self._number[label] = len(self.labels)
                self.labels.append(label)
        numbers = [_NONE if label is None else self._number[label] for label in known]
        table = np.array([*numbers, _NONE], np.int32)
        codes: Codes = table[labels.indices.fill_null(-1).to_numpy(zero_copy_only=False)]
        return codes


def majority(codes: Codes) -> tuple[Codes, npt.NDArray[np.float32]]:
    """The most common label of each row, of equally common ones the first, and its share of those known.

    Args:
        codes: (unit, place) numbers of labels, -1 where there is none.

    Returns:
        (unit,) the number, -1 where no label is known; and (unit,) the share, NaN there.
    """
    units, places = codes.shape
    best, share = np.full(units, _NONE, np.int32), np.full(units, np.nan, np.float32)
    order = np.argsort(codes, axis=1, kind="stable")
    ranked = np.take_along_axis(codes, order, 1)
    starts = np.ones((units, places), bool)
    starts[:, 1:] = ranked[:, 1:] != ranked[:, :-1]
    row, column = starts.nonzero()
    # A run ends where the next one starts; the next row's first run starts at its column 0.
    count = np.diff(np.append(row * places + column, units * places))
    code, first = ranked[row, column], order[row, column]
    kept = code != _NONE
    row, code, first, count = row[kept], code[kept], first[kept], count[kept]
    ranking = np.lexsort((first, -count, row))
    row, code, count = row[ranking], code[ranking], count[ranking]
    known, leader = np.unique(row, return_index=True)
    best[known] = code[leader]
    total = (codes != _NONE).sum(axis=1)[known]
    share[known] = (count[leader] / total).astype(np.float32)
    return best, share
