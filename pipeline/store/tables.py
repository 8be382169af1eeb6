"""Reads and writes Parquet tables.

A table is written as a stream of record batches to a temporary file, flushed, and renamed: a file
with its final name is complete. The footer has the schema version and the fingerprint of the run.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import DamagedFile, StoreError
from pipeline.store.digests import FileDigest, digest_file
from pipeline.store.files import atomic_path
from pipeline.store.schemas import SCHEMA_VERSION
from pipeline.store.seals import BLANK, PARQUET, PARQUET_KEY, seal

__all__ = [
    "ROW_GROUP_ROWS",
    "TableWriter",
    "read_sealed_table",
    "read_table",
    "refuse_other_schema",
    "write_table",
    "writing_table",
]

ROW_GROUP_ROWS = 100_000
"""Rows per row group: one unit's images are selected from 5 million rows in 5 ms; groups of 10,000
rows take five times as long (measured with DuckDB 2.0)."""

_DELTA = frozenset({"unit", "rank", "image_id", "offset", "bytes", "ordinal"})
"""Sorted or nearly sorted integers: DELTA_BINARY_PACKED."""

_UNIQUE = frozenset({"key", "digest", "phash", "jpeg"})
"""Columns whose values rarely repeat: a dictionary would only take memory."""


_FALSE_POSITIVES = 0.2
"""Share of the row groups that a Bloom filter does not exclude although it could: for `top` with 100,000
rows a group, 0.2 takes 64 KiB each, 0.1 twice as much for the same time of a query."""


class TableWriter:
    """A table that is being written; see `writing_table`.

    Args:
        writer: of the file.
        schema: to which rows are cast.
        row_group_rows: rows of a row group.
    """

    def __init__(self, writer: pq.ParquetWriter, schema: pa.Schema, row_group_rows: int) -> None:
        self._writer, self._schema, self._size = writer, schema, row_group_rows
        self._waiting = schema.empty_table()
        self._digest: FileDigest | None = None

    @property
    def digest(self) -> FileDigest:
        """The digest of the file, once it is written."""
        assert self._digest is not None, "the table is not written yet"
        return self._digest

    def write(self, rows: pa.RecordBatch | pa.Table) -> None:
        """Append rows; they are written when they fill a row group."""
        table = pa.Table.from_batches([rows]) if isinstance(rows, pa.RecordBatch) else rows
        waiting = pa.concat_tables([self._waiting, table.cast(self._schema)])
        while waiting.num_rows >= self._size:
            self._write_group(waiting.slice(0, self._size))
            waiting = waiting.slice(self._size)
        self._waiting = waiting

    def finish(self) -> None:
        """Write the rows that are left."""
        self._write_group(self._waiting)
        self._waiting = self._schema.empty_table()

    def close(self, path: Path) -> None:
        """Take the digest of the complete file."""
        self._digest = digest_file(path)

    def _write_group(self, rows: pa.Table) -> None:
        self._writer.write_table(rows.unify_dictionaries(), row_group_size=self._size)


@contextlib.contextmanager
def writing_table(
    path: Path,
    schema: pa.Schema,
    *,
    metadata: Mapping[str, str] | None = None,
    row_group_rows: int = ROW_GROUP_ROWS,
    sealed: bool = False,
    sought: str | None = None,
) -> Iterator[TableWriter]:
    """Write one Parquet file, atomically, from rows that come bit by bit; arguments as of `write_table`.

    Raises:
        StoreError: when it cannot be written.
    """
    footer = {"maxact.schema_version": str(SCHEMA_VERSION), **(metadata or {})}
    floats = [field.name for field in schema if pa.types.is_floating(field.type)]
    encodings = dict.fromkeys(floats, "BYTE_STREAM_SPLIT")
    encodings |= {
        field.name: "DELTA_BINARY_PACKED"
        for field in schema
        if field.name in _DELTA and pa.types.is_integer(field.type)
    }
    dictionaries = [
        field.name for field in schema if field.name not in encodings and field.name not in _UNIQUE
    ]
    with atomic_path(path) as temporary:
        with pq.ParquetWriter(
            temporary,
            schema.with_metadata(footer),
            compression="zstd",
            use_dictionary=dictionaries,
            column_encoding=encodings,
            **_bloom_filters(sought, row_group_rows),
        ) as writer:
            table = TableWriter(writer, schema, row_group_rows)
            yield table
            table.finish()
            if sealed:
                writer.add_key_value_metadata({PARQUET_KEY: BLANK})
        if sealed:
            temporary.write_bytes(seal(temporary.read_bytes(), PARQUET))
        table.close(temporary)


def write_table(
    path: Path,
    schema: pa.Schema,
    batches: Iterable[pa.RecordBatch | pa.Table],
    *,
    metadata: Mapping[str, str] | None = None,
    row_group_rows: int = ROW_GROUP_ROWS,
    sealed: bool = False,
    sought: str | None = None,
) -> FileDigest:
    """Write record batches to one Parquet file, atomically.

    Args:
        path: of the file.
        schema: of the table.
        batches: cast to `schema`; their order is kept.
        metadata: added to the footer beside `maxact.schema_version`.
        row_group_rows: rows that are in memory together, and in one row group.
        sealed: the file carries its own digest (see `pipeline.store.seals`).
        sought: a column of whole numbers in any order, by one value of which rows are looked for: it gets
            Bloom filters, where this pyarrow writes them, so that other row groups are not decoded.

    Returns:
        The digest of the file.

    Raises:
        StoreError: when it cannot be written.
    """
    with writing_table(
        path, schema, metadata=metadata, row_group_rows=row_group_rows, sealed=sealed, sought=sought
    ) as table:
        for batch in batches:
            table.write(batch)
    return table.digest


def _bloom_filters(column: str | None, rows: int) -> dict[str, Any]:
    """The option of the writer; none where this pyarrow does not have it."""
    name = "bloom_filter_options"
    if column is None or name not in inspect.signature(pq.ParquetWriter.__init__).parameters:
        return {}
    return {name: {column: {"ndv": rows, "fpp": _FALSE_POSITIVES}}}


def read_table(path: Path, *, columns: Sequence[str] | None = None) -> pa.Table:
    """Read one table and check its schema version.

    Args:
        path: of the file.
        columns: to read; None for all.

    Raises:
        StoreError: when it is missing, damaged, or of another schema version.
    """
    try:
        table = pq.read_table(path, columns=None if columns is None else list(columns))
    except FileNotFoundError as error:
        raise StoreError(f"{path} is missing; run `maxact index` into {path.parent}") from error
    except (pa.ArrowException, OSError) as error:
        raise StoreError(f"{path} cannot be read: {error}") from error
    refuse_other_schema(path, table.schema)
    return table


def refuse_other_schema(path: Path, schema: pa.Schema) -> None:
    """Refuse a table of another schema version.

    Args:
        path: of its file.
        schema: as read, with the metadata of the footer.

    Raises:
        StoreError: when it is one.
    """
    found = (schema.metadata or {}).get(b"maxact.schema_version", b"none").decode()
    if found != str(SCHEMA_VERSION):
        raise StoreError(
            f"{path} has schema version {found}, this maxact reads {SCHEMA_VERSION}; "
            "index again, or use the maxact that wrote it"
        )


def read_sealed_table(path: Path, schema: pa.Schema) -> pa.Table:
    """Read a table that carries its own digest; one of an earlier version has none and fewer columns.

    Args:
        path: of the file.
        schema: of the table. Its last columns are null where the file does not have them.

    Raises:
        DamagedFile: when it is not as it was written.
        StoreError: when it is missing, cannot be read, or is of another schema version.
    """
    try:
        intact = PARQUET.is_intact(path.read_bytes()) if path.exists() else None
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror or error}") from error
    table = None if intact is False else read_table(path)
    if table is None or (intact is None and table.column_names == schema.names):
        raise DamagedFile(f"{path} was changed after it was written (its SHA-256 differs)")
    for field in schema:
        if field.name not in table.column_names:
            table = table.append_column(field, pa.nulls(table.num_rows, field.type))
    return table.select(schema.names)
