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
from pipeline.query.unreadable_tables import unreadable

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
            # Ranges that are fetched ahead are for remote files: here that takes a third longer.
            self._file = pq.ParquetFile(path, pre_buffer=False)
            metadata = self._file.metadata
            self.numbers = [n for n in range(metadata.num_row_groups) if metadata.row_group(n).num_rows]
            """The row groups that have rows."""

    def read(self, number: int, columns: Sequence[str]) -> pa.Table:
        """Columns of one row group, in one chunk each.

        Raises:
            DamagedFile: when it cannot be read.
        """
        return self.read_all((number,), columns)[0]

    def read_all(self, numbers: Sequence[int], columns: Sequence[str]) -> list[pa.Table]:
        """Columns of several row groups, in one chunk each; those not in memory are decoded together.

        Raises:
            DamagedFile: when one cannot be read.
        """
        names = tuple(columns)
        with self._lock, self._readable():
            missing = sorted({number for number in numbers if (number, names) not in self._read})
            if missing:
                read, first = self._file.read_row_groups(missing, columns=list(names)), 0
                for number in missing:
                    rows = self._file.metadata.row_group(number).num_rows
                    self._read[number, names] = read.slice(first, rows).combine_chunks()
                    first += rows
            for number in numbers:
                self._read.move_to_end((number, names))
            found = [self._read[number, names] for number in numbers]
            while len(self._read) > self._kept:
                self._read.popitem(last=False)
        return found

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
            raise DamagedFile(unreadable(self.path, " ".join(str(error).split()))) from error
