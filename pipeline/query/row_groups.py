"""Row groups of a Parquet file, decoded once while they are in use."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import DamagedFile

__all__ = ["RowGroups"]


class RowGroups:
    """Reads row groups by number, and keeps those that were read last; several threads may share it.

    Args:
        path: of the table.
        kept: row groups that stay in memory.

    Raises:
        DamagedFile: when it cannot be read.
    """

    def __init__(self, path: Path, kept: int) -> None:
        self.path = path
        self._kept = kept
        self._read: OrderedDict[tuple[int, tuple[str, ...]], pa.Table] = OrderedDict()
        self._lock = threading.Lock()
        with self._readable():
            self._file = pq.ParquetFile(path)
            metadata = self._file.metadata
            self.numbers = [n for n in range(metadata.num_row_groups) if metadata.row_group(n).num_rows]
            """The row groups that have rows."""

    def read(self, number: int, columns: Sequence[str]) -> pa.Table:
        """Columns of one row group, in one chunk each.

        Raises:
            DamagedFile: when it cannot be read.
        """
        wanted = (number, tuple(columns))
        with self._lock, self._readable():
            if wanted not in self._read:
                self._read[wanted] = self._file.read_row_group(number, columns=list(columns)).combine_chunks()
                while len(self._read) > self._kept:
                    self._read.popitem(last=False)
            self._read.move_to_end(wanted)
            return self._read[wanted]

    def read_all(self, numbers: Sequence[int], columns: Sequence[str]) -> list[pa.Table]:
        """Columns of several row groups; those that are not in memory are decoded together, in threads.

        Raises:
            DamagedFile: when one cannot be read.
        """
        with self._lock, self._readable():
            found = {number: self._read.get((number, tuple(columns))) for number in numbers}
            missing = sorted(number for number, table in found.items() if table is None)
            read = self._file.read_row_groups(missing, columns=list(columns)) if missing else None
            first = 0
            for number in missing:
                rows = self._file.metadata.row_group(number).num_rows
                assert read is not None
                found[number] = self._read[number, tuple(columns)] = read.slice(first, rows)
                first += rows
            while len(self._read) > self._kept:
                self._read.popitem(last=False)
        return [found[number] for number in numbers]

    def bounds(self, column: str) -> list[tuple[Any, Any]]:
        """The least and the greatest value of a column in each of `numbers`.

        Raises:
            DamagedFile: when it cannot be read.
        """
        place = self._file.schema_arrow.get_field_index(column)
        found = []
        for number in self.numbers:
            statistics = self._file.metadata.row_group(number).column(place).statistics
            if statistics is not None and statistics.has_min_max:
                found.append((statistics.min, statistics.max))
            else:  # another program wrote the table
                values = self.read(number, (column,))[column].to_pylist()
                found.append((min(values), max(values)))
        return found

    def close(self) -> None:
        """Close the file, and forget what was read."""
        with self._lock:
            self._read.clear()
            self._file.close()

    @contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except (OSError, pa.ArrowException) as error:
            raise DamagedFile(f"{self.path} cannot be read: {' '.join(str(error).split())}") from error
