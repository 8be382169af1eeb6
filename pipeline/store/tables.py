"""Reads and writes Parquet tables.

A table is written as a stream of record batches to a temporary file, flushed, and renamed: a file
with its final name is complete. The footer has the schema version and the fingerprint of the run.
"""

from __future__ import annotations

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

__all__ = ["ROW_GROUP_ROWS", "read_sealed_table", "read_table", "write_table"]

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
            for group in _row_groups(batches, schema, row_group_rows):
                writer.write_table(group, row_group_size=row_group_rows)
            if sealed:
                writer.add_key_value_metadata({PARQUET_KEY: BLANK})
        if sealed:
            temporary.write_bytes(seal(temporary.read_bytes(), PARQUET))
        return digest_file(temporary)


def _bloom_filters(column: str | None, rows: int) -> dict[str, Any]:
    """The option of the writer; none where this pyarrow does not have it."""
    name = "bloom_filter_options"
    if column is None or name not in inspect.signature(pq.ParquetWriter.__init__).parameters:
        return {}
    return {name: {column: {"ndv": rows, "fpp": _FALSE_POSITIVES}}}


def _row_groups(
    batches: Iterable[pa.RecordBatch | pa.Table], schema: pa.Schema, size: int
) -> Iterator[pa.Table]:
    """The rows in tables of `size` rows, the last one smaller."""
    waiting = schema.empty_table()
    for batch in batches:
        table = pa.Table.from_batches([batch]) if isinstance(batch, pa.RecordBatch) else batch
        waiting = pa.concat_tables([waiting, table.cast(schema)])
        while waiting.num_rows >= size:
            yield waiting.slice(0, size).unify_dictionaries()
            waiting = waiting.slice(size)
    yield waiting.unify_dictionaries()


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
    found = (table.schema.metadata or {}).get(b"maxact.schema_version", b"none").decode()
    if found != str(SCHEMA_VERSION):
        raise StoreError(
            f"{path} has schema version {found}, this maxact reads {SCHEMA_VERSION}; "
            "index again, or use the maxact that wrote it"
        )
    return table


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
