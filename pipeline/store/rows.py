"""A matrix that grows by rows: in memory while it is small, then in a file without a name."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np
import numpy.typing as npt

from pipeline.errors import StoreError

__all__ = ["IN_MEMORY", "Rows"]

IN_MEMORY = 256 << 20
"""Bytes from which on a matrix is in a file."""

Numbers = npt.NDArray[Any]


class Rows:
    """Rows of equal width, zero where nothing was written; results do not depend on where they are.

    The file has no name: it takes room on the disk of `folder`, and vanishes with the process. It is read
    and written at offsets, not mapped into memory, so that an error of the disk is an exception.

    Args:
        folder: where the file is created when it is needed.
        width: numbers of a row.
        kind: of the numbers.
        memory: bytes from which on the rows are in the file.
    """

    def __init__(
        self, folder: Path, width: int, kind: npt.DTypeLike = np.float64, *, memory: int = IN_MEMORY
    ) -> None:
        self.folder, self.width, self.kind, self.memory = folder, width, np.dtype(kind), memory
        self.count = 0
        self._file: BinaryIO | None = None
        self._array: Numbers = np.zeros((0, width), self.kind)

    @classmethod
    def holding(cls, values: Numbers) -> Self:
        """The rows of an array (row, column), which stays in memory."""
        rows = cls(Path(), values.shape[1], values.dtype, memory=values.nbytes)
        rows.count, rows._array = len(values), values
        return rows

    def __enter__(self) -> Self:
        """The rows."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Forget them."""
        self.close()

    def __del__(self) -> None:
        """Close the file of rows that are part of a state, which nobody closes."""
        if self._file is not None:
            self._file.close()

    def close(self) -> None:
        """Free the memory, or close and thereby remove the file."""
        self._array = self._array[:0].copy()
        if self._file is not None:
            self._file.close()

    @property
    def on_disk(self) -> bool:
        """Whether the rows are in the file."""
        return self._file is not None

    def grow(self, count: int) -> None:
        """Have at least `count` rows.

        Raises:
            StoreError: when the file cannot be created or written.
        """
        if count <= self.count:
            return
        self.count = count
        if self._file is None and count > len(self._array):
            room = max(count, 2 * len(self._array))
            row_bytes = max(self.width * self.kind.itemsize, 1)
            if count * row_bytes > self.memory:
                self._move()
                return
            larger = np.zeros((min(room, max(count, self.memory // row_bytes)), self.width), self.kind)
            larger[: len(self._array)] = self._array
            self._array = larger

    def read(self, rows: npt.NDArray[np.int64], columns: slice = slice(None)) -> Numbers:
        """Some columns of some rows, (row, column), in the order of `rows`; a copy.

        Raises:
            StoreError: when the file cannot be read.
        """
        first, last, _ = columns.indices(self.width)
        if self._file is None:
            found: Numbers = self._array[rows, first:last]
            return found
        answer = np.zeros((len(rows), last - first), self.kind)
        try:
            for number, row in enumerate(rows.tolist()):
                self._read_into(self._file, answer[number], self._offset(row, first))
        except OSError as error:
            raise self._failed(error) from error
        return answer

    def write(self, rows: npt.NDArray[np.int64], values: Numbers, columns: slice = slice(None)) -> None:
        """Set some columns of some rows, all of them different, to (row, column) values.

        Raises:
            StoreError: when the disk is full.
        """
        first, last, _ = columns.indices(self.width)
        if self._file is None:
            self._array[rows, first:last] = values
            return
        values = np.ascontiguousarray(values, self.kind)
        try:
            for number, row in enumerate(rows.tolist()):
                self._write_all(self._file, values[number], self._offset(row, first))
        except OSError as error:
            raise self._failed(error) from error

    def add(self, rows: npt.NDArray[np.int64], values: Numbers, columns: slice = slice(None)) -> None:
        """Add (row, column) values to some columns of some rows, all of them different.

        Raises:
            StoreError: when the disk is full, or the file cannot be read.
        """
        if self._file is None:
            self._array[rows, columns] += values
        else:
            self.write(rows, self.read(rows, columns) + values, columns)

    def _offset(self, row: int, column: int) -> int:
        return (row * self.width + column) * self.kind.itemsize

    def _move(self) -> None:
        """Move the rows from memory to the file."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._file = tempfile.TemporaryFile(dir=self.folder, buffering=0)  # noqa: SIM115
            self._write_all(self._file, self._array.reshape(-1), 0)
        except OSError as error:
            raise self._failed(error) from error
        self._array = self._array[:0].copy()

    @staticmethod
    def _read_into(file: BinaryIO, values: Numbers, offset: int) -> None:
        """Fill contiguous values; what is beyond the end of the file stays zero."""
        view = values.view(np.uint8).data if values.size else memoryview(b"")
        while view:
            count = os.preadv(file.fileno(), [view], offset)
            if not count:
                return
            view, offset = view[count:], offset + count

    @staticmethod
    def _write_all(file: BinaryIO, values: Numbers, offset: int) -> None:
        view = values.view(np.uint8).data if values.size else memoryview(b"")
        while view:
            count = os.pwrite(file.fileno(), view, offset)
            view, offset = view[count:], offset + count

    def _failed(self, error: OSError) -> StoreError:
        return StoreError(
            f"cannot hold what does not fit into memory in {self.folder}: {error.strerror or error}; parts "
            "committed earlier are intact. Free some space, and run the same command again"
        )
