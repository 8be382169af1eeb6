"""Tables read a few row groups at a time, so that their size does not matter."""

from __future__ import annotations

import contextlib
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import StoreError
from pipeline.store.tables import refuse_other_schema

__all__ = ["TableFile"]

_BUFFER = 1 << 20
"""Bytes of a column that are read from the disk at once, instead of all of a row group."""


class TableFile:
    """A table on disk.

    Args:
        path: of the file.

    Raises:
        StoreError: when it is missing, damaged, or of another schema version.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with _translated(path):
            source = pa.OSFile(str(path))
            self._file = pq.ParquetFile(source, buffer_size=_BUFFER, pre_buffer=False)
            self.metadata: pq.FileMetaData = self._file.metadata
            self.schema: pa.Schema = self._file.schema_arrow
        try:
            refuse_other_schema(path, self.schema)
        except StoreError:
            self.close()
            raise

    def __enter__(self) -> Self:
        """The open file."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Close it."""
        self._file.close(force=True)

    @property
    def rows(self) -> int:
        """Rows of the table."""
        return int(self.metadata.num_rows)

    def read(self, columns: Sequence[str], groups: Sequence[int] | None = None) -> pa.Table:
        """Some columns of some row groups; of all by default.

        Raises:
            StoreError: when they cannot be read.
        """
        chosen = range(self.metadata.num_row_groups) if groups is None else groups
        with _translated(self.path):
            return self._file.read_row_groups(list(chosen), columns=list(columns), use_threads=False)

    def batches(
        self, columns: Sequence[str] | None, rows: int, *, first: int = 0
    ) -> Iterator[pa.RecordBatch]:
        """The table from a row on, in batches of at most `rows` rows.

        Raises:
            StoreError: when one cannot be read.
        """
        group = 0
        while group < self.metadata.num_row_groups:
            size = self.metadata.row_group(group).num_rows
            if first < size:
                break
            first, group = first - size, group + 1
        chosen = None if columns is None else list(columns)
        groups = list(range(group, self.metadata.num_row_groups))
        with _translated(self.path):
            found = self._file.iter_batches(rows, row_groups=groups, columns=chosen, use_threads=False)
            for batch in found:
                if first >= batch.num_rows:
                    first -= batch.num_rows
                    continue
                yield batch.slice(first)
                first = 0

    def rows_within(self, units: slice, columns: Sequence[str]) -> tuple[pa.Table, int]:
        """The row groups that hold the rows of a span of numbers.

        Args:
            units: the span of row numbers.
            columns: to read.

        Returns:
            The table, and the number of its first row.
        """
        starts = [0]
        for group in range(self.metadata.num_row_groups):
            starts.append(starts[-1] + self.metadata.row_group(group).num_rows)
        groups = [
            group
            for group in range(len(starts) - 1)
            if starts[group] < units.stop and units.start < starts[group + 1]
        ]
        return self.read(columns, groups), starts[groups[0]] if groups else 0

    def groups_of(self, column: str, span: slice) -> Sequence[int]:
        """The row groups that may hold values of a sorted column of whole numbers.

        Args:
            column: sorted, without nulls.
            span: of the values.
        """
        place = self.schema.get_field_index(column)
        count = self.metadata.num_row_groups

        def extreme(group: int, name: str) -> int | None:
            found = self.metadata.row_group(group).column(place).statistics
            return int(getattr(found, name)) if found is not None and found.has_min_max else None

        if any(extreme(group, "min") is None for group in {0, count - 1} if 0 <= group < count):
            return range(count)
        known = range(count)
        first = bisect_left(known, span.start, key=lambda group: _or(extreme(group, "max"), span.start))
        last = bisect_left(known, span.stop, key=lambda group: _or(extreme(group, "min"), span.start))
        return range(first, last)


def _or(value: int | None, otherwise: int) -> int:
    return otherwise if value is None else value


@contextlib.contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise StoreError(f"{path} is missing; run `maxact index` into {path.parent}") from error
    except (pa.ArrowException, OSError) as error:
        raise StoreError(f"{path} cannot be read: {error}") from error
