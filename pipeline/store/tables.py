"""Parquet tables: their schemas, written and read.

A table is written as a stream of record batches to a temporary name, synced, and renamed: a file
that has its final name is whole. The footer carries the schema version, the fingerprint of the run
and the version of maxact.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import StoreError

__all__ = [
    "CLASSES",
    "ERRORS",
    "HISTOGRAMS",
    "IMAGES",
    "LAYERS",
    "ROW_GROUP_ROWS",
    "SCHEMAS",
    "SCHEMA_VERSION",
    "STRATA",
    "TOP",
    "UNITS",
    "atomic_path",
    "read_table",
    "sha256_file",
    "sync_file",
    "sync_folder",
    "write_table",
]

SCHEMA_VERSION = 1
"""Raised whenever a column changes its name, type or meaning."""

ROW_GROUP_ROWS = 100_000
"""Rows per row group: one unit's images come back in 5 ms out of 5 million rows; 10,000-row
groups take five times as long (measured with DuckDB 2.0)."""

_NAME = pa.dictionary(pa.int32(), pa.string())
"""Strings that repeat in long runs: layers, sides, shards, labels."""


def _schema(**columns: pa.DataType) -> pa.Schema:
    return pa.schema([pa.field(name, kind) for name, kind in columns.items()])


LAYERS = _schema(
    layer=pa.string(),
    ordinal=pa.int32(),
    kind=pa.string(),
    units=pa.int32(),
    prefix=pa.int32(),
    grid_h=pa.int32(),
    grid_w=pa.int32(),
    rf_h=pa.int32(),
    rf_w=pa.int32(),
    stride_y=pa.int32(),
    stride_x=pa.int32(),
    start_y=pa.int32(),
    start_x=pa.int32(),
)
"""One row per probed layer. `rf_*`, `stride_*` and `start_*` are in pixels of the network's input:
grid position y sees the rows start_y + y * stride_y up to, not including, that plus rf_h."""

IMAGES = _schema(
    image_id=pa.int64(),
    key=pa.string(),
    shard=_NAME,
    offset=pa.int64(),
    bytes=pa.int64(),
    width=pa.int32(),
    height=pa.int32(),
    label=_NAME,
    origin=_NAME,
    digest=pa.int64(),
    phash=pa.int64(),
    duplicate_of=pa.int64(),
)
"""One row per indexed image. `width` and `height` are those of the original after its EXIF
orientation; `duplicate_of` is the first image of the same bytes or of nearly the same perceptual
hash (see `pipeline.images.hashes`)."""

TOP = _schema(
    layer=_NAME,
    unit=pa.int32(),
    side=_NAME,
    rank=pa.int32(),
    activation=pa.float32(),
    image_id=pa.int64(),
    y=pa.int32(),
    x=pa.int32(),
)
"""The images of the highest (`side` = high) and lowest (low) peaks of each unit; rank 1 is the
most extreme; ties go to the lower image_id. (y, x) is the grid position of the peak."""

UNITS = _schema(
    layer=_NAME,
    unit=pa.int32(),
    images=pa.int64(),
    mean=pa.float64(),
    std=pa.float64(),
    min=pa.float32(),
    max=pa.float32(),
    active_fraction=pa.float64(),
    p50=pa.float32(),
    p90=pa.float32(),
    p99=pa.float32(),
    p999=pa.float32(),
    selectivity=pa.float32(),
    top_label=pa.string(),
    majority_label=pa.string(),
    precision=pa.float32(),
)
"""Statistics of each unit's peaks over all images: see `pipeline.state.statistics`."""

STRATA = _schema(
    layer=_NAME,
    unit=pa.int32(),
    stratum=pa.int32(),
    activation=pa.float32(),
    image_id=pa.int64(),
    y=pa.int32(),
    x=pa.int32(),
)
"""Images sampled from each tenth of a unit's range of peaks; stratum 0 is the lowest tenth."""

CLASSES = _schema(
    layer=_NAME,
    unit=pa.int32(),
    label=_NAME,
    images=pa.int64(),
    mean_peak=pa.float64(),
)
"""The labels with the highest mean peak, per unit, highest first."""

HISTOGRAMS = _schema(
    layer=_NAME,
    unit=pa.int32(),
    lower=pa.float32(),
    upper=pa.float32(),
    images=pa.int64(),
)
"""The non-empty buckets of each unit's histogram of peaks, in rising order."""

ERRORS = _schema(shard=pa.string(), key=pa.string(), error=pa.string(), message=pa.string())
"""Samples that could not be used: `error` is a short stable word, `message` says why."""

SCHEMAS: Mapping[str, pa.Schema] = {
    "layers": LAYERS,
    "images": IMAGES,
    "top": TOP,
    "units": UNITS,
    "strata": STRATA,
    "classes": CLASSES,
    "histograms": HISTOGRAMS,
    "errors": ERRORS,
}
"""The tables of an index; each lies in OUT as NAME.parquet."""

_DELTA = frozenset({"unit", "rank", "image_id", "offset", "bytes", "ordinal"})
"""Sorted or nearly sorted integers: DELTA_BINARY_PACKED."""

_UNIQUE = frozenset({"key", "digest", "phash"})
"""Columns whose values hardly repeat: a dictionary of them would only cost memory."""


def sync_file(path: Path) -> None:
    """Make what was written into a file durable."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Make the renames inside a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary name beside `path`; synced and renamed on success, removed on failure.

    Raises:
        StoreError: when the disk is full or the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        sync_file(temporary)
        os.replace(temporary, path)
        sync_folder(path.parent)
    except OSError as error:
        raise StoreError(
            f"cannot write {path}: {error.strerror or error}; what was committed before is intact, "
            "free some space or fix the permissions and run the same command again"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def write_table(
    path: Path,
    schema: pa.Schema,
    batches: Iterable[pa.RecordBatch | pa.Table],
    *,
    metadata: Mapping[str, str] | None = None,
) -> int:
    """Stream record batches into one Parquet file, atomically.

    Args:
        path: the final name.
        schema: one of `SCHEMAS`, or another.
        batches: cast to `schema`; their order is kept.
        metadata: added to the footer beside `maxact.schema_version`.

    Returns:
        The number of rows.

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
    rows = 0
    with (
        atomic_path(path) as temporary,
        pq.ParquetWriter(
            temporary,
            schema.with_metadata(footer),
            compression="zstd",
            use_dictionary=dictionaries,
            column_encoding=encodings,
        ) as writer,
    ):
        for group in _row_groups(batches, schema):
            rows += group.num_rows
            writer.write_table(group, row_group_size=ROW_GROUP_ROWS)
    return rows


def _row_groups(batches: Iterable[pa.RecordBatch | pa.Table], schema: pa.Schema) -> Iterator[pa.Table]:
    """The same rows in tables of ROW_GROUP_ROWS, the last one smaller, however they come in."""
    waiting = schema.empty_table()
    for batch in batches:
        table = pa.Table.from_batches([batch]) if isinstance(batch, pa.RecordBatch) else batch
        waiting = pa.concat_tables([waiting, table.cast(schema)])
        while waiting.num_rows >= ROW_GROUP_ROWS:
            yield waiting.slice(0, ROW_GROUP_ROWS).unify_dictionaries()
            waiting = waiting.slice(ROW_GROUP_ROWS)
    yield waiting.unify_dictionaries()


def read_table(path: Path) -> pa.Table:
    """Read one table and check its schema version.

    Raises:
        StoreError: when it is missing, damaged, or of another schema version.
    """
    try:
        table = pq.read_table(path)
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


def sha256_file(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
