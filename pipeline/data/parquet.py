"""Parquet files with a column of encoded images, as the Hugging Face hub publishes them.

The image column is a struct with `bytes` (and `path`), or plain binary. An integer label becomes
its class name where the file's `huggingface` metadata lists the names. The offset of an image is
its row in the file.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.data.files import is_url, open_binary, size_of
from pipeline.data.shard import MAX_MEMBER_BYTES, BadSample, Sample, Shard
from pipeline.errors import ShardError, SourceError
from pipeline.image_id import MAX_POSITIONS

__all__ = ["ParquetShard", "parquet_shard"]

IMAGE_COLUMNS = ("image", "img", "jpg", "png", "bytes", "image_bytes")
"""Names of the image column, the first one present wins; else the only struct with `bytes`."""

LABEL_COLUMNS = ("label", "labels", "class", "cls", "fine_label")
"""Names of the label column, the first one present wins."""

BATCH_ROWS = 32
"""Rows decoded at a time: what streaming holds in memory besides the column chunk's pages."""


@dataclass(frozen=True, slots=True)
class _Columns:
    """Where a file keeps what is wanted."""

    image: str
    struct: bool
    label: str | None
    classes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ParquetShard(Shard):
    """One Parquet file, local or remote.

    Args:
        url: path or URL.
    """

    url: str

    def samples(self) -> Generator[Sample | BadSample]:
        """Stream the rows, a few at a time."""
        with _opened(self.name, self.url, self.size) as file:
            columns = _columns(self.name, file.schema_arrow)
            if file.metadata.num_rows > MAX_POSITIONS:
                raise ShardError(self.name, f"holds more than {MAX_POSITIONS:,} rows; split it")
            wanted = [columns.image, *([columns.label] if columns.label else [])]
            batches = file.iter_batches(batch_size=BATCH_ROWS, columns=wanted, use_threads=False)
            row = 0
            while (batch := _next(self.name, batches, row)) is not None:
                for values in batch.to_pylist():
                    yield _sample(values, row, columns)
                    row += 1
            if row != file.metadata.num_rows:
                rows = file.metadata.num_rows
                raise ShardError(self.name, f"gave {row} rows where its footer says {rows}")

    def read(self, key: str, offset: int, nbytes: int) -> bytes:
        """Read one row back, by way of its row group."""
        with _opened(self.name, self.url, self.size) as file:
            columns = _columns(self.name, file.schema_arrow)
            group, row = _locate(self.name, file.metadata, offset)
        values = _row_group(self.name, self.url, self.size, group, columns.image)[row].as_py()
        data = values.get("bytes") if isinstance(values, dict) else values
        if not isinstance(data, bytes) or len(data) != nbytes:
            raise ShardError(self.name, f"row {offset} is no longer the image {key!r} of {nbytes} bytes")
        return data


def parquet_shard(url: str) -> ParquetShard:
    """The file as a shard still without a name; local ones know their number of rows.

    Raises:
        SourceError: when it does not exist.
    """
    size = size_of(url)
    count = None
    if not is_url(url):
        try:
            count = pq.read_metadata(url).num_rows
        except (pa.ArrowException, OSError):
            count = None  # damaged: said when it is read, by the shard's name
    return ParquetShard(name="", size=size, count_hint=count, url=url)


@contextmanager
def _opened(name: str, url: str, size: int) -> Iterator[pq.ParquetFile]:
    try:
        with open_binary(url, size) as source:
            try:
                file = pq.ParquetFile(source, pre_buffer=False)
            except (pa.ArrowException, OSError) as error:
                raise ShardError(
                    name, f"is no Parquet file, or was cut off: {_line(error)}; copy it again"
                ) from error
            yield file
    except ShardError:
        raise
    except SourceError as error:
        raise ShardError(name, str(error)) from error


def _next(name: str, batches: Iterator[pa.RecordBatch], row: int) -> pa.RecordBatch | None:
    try:
        return next(batches, None)
    except (pa.ArrowException, OSError) as error:
        raise ShardError(name, f"is damaged behind row {row}: {_line(error)}; copy it again") from error


def _line(error: Exception) -> str:
    """Arrow's message without its line breaks."""
    return " ".join(str(error).split()).rstrip(".")


@functools.lru_cache(maxsize=1)
def _row_group(name: str, url: str, size: int, group: int, column: str) -> pa.ChunkedArray:
    """One row group's images; the last one is kept, since neighbours are often asked for next."""
    with _opened(name, url, size) as file:
        try:
            return file.read_row_group(group, columns=[column], use_threads=False)[column]
        except (pa.ArrowException, OSError) as error:
            raise ShardError(name, f"row group {group} cannot be read: {_line(error)}") from error


def _locate(name: str, metadata: Any, row: int) -> tuple[int, int]:
    """Row group of a row, and its number in there."""
    first = 0
    for group in range(metadata.num_row_groups):
        rows = metadata.row_group(group).num_rows
        if first <= row < first + rows:
            return group, row - first
        first += rows
    raise ShardError(name, f"has {first} rows, no row {row}")


def _columns(name: str, schema: pa.Schema) -> _Columns:
    """Find the image and the label column.

    Raises:
        ShardError: when there is no image column, or it is of another type.
    """
    image = next((column for column in IMAGE_COLUMNS if column in schema.names), None)
    if image is None:
        structs = [field.name for field in schema if _has_bytes(field.type)]
        if len(structs) != 1:
            raise ShardError(
                name,
                f"no image column among {', '.join(schema.names) or 'none'}; expected `image` as "
                "a struct with `bytes`, or as binary",
            )
        image = structs[0]
    kind = schema.field(image).type
    struct = _has_bytes(kind)
    if not struct and not _is_binary(kind):
        raise ShardError(name, f"column `{image}` is {kind}, expected a struct with `bytes`, or binary")
    label = next((column for column in LABEL_COLUMNS if column in schema.names), None)
    if label is not None:
        kind = schema.field(label).type
        if pa.types.is_dictionary(kind):
            kind = kind.value_type
        if not (pa.types.is_integer(kind) or _is_text(kind)):
            raise ShardError(name, f"column `{label}` is {kind}, expected integers or text")
    return _Columns(image, struct, label, _class_names(schema, label))


def _has_bytes(kind: pa.DataType) -> bool:
    return bool(pa.types.is_struct(kind)) and any(
        child.name == "bytes" and _is_binary(child.type) for child in kind
    )


def _is_binary(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _is_text(kind: pa.DataType) -> bool:
    tests = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    return any(test(kind) for test in tests)


def _class_names(schema: pa.Schema, label: str | None) -> tuple[str, ...]:
    """The names that `datasets` writes for a ClassLabel; empty when there are none."""
    try:
        notes = json.loads((schema.metadata or {})[b"huggingface"])
        names = notes["info"]["features"][label]["names"]
    except (KeyError, TypeError, ValueError):
        return ()
    return tuple(names) if all(isinstance(name, str) for name in names) else ()


def _sample(values: dict[str, Any], row: int, columns: _Columns) -> Sample | BadSample:
    image = values[columns.image]
    path = image.get("path") if columns.struct and image is not None else None
    key = path if isinstance(path, str) and path else f"{row:08}"
    data = image["bytes"] if columns.struct and image is not None else image
    if data is None:
        where = f" (only the path {path!r})" if path else ""
        return BadSample(key, row, "no_image", f"the row holds no image bytes{where}")
    if len(data) > MAX_MEMBER_BYTES:
        message = f"{len(data):,} bytes are more than the {MAX_MEMBER_BYTES:,} an image may have"
        return BadSample(key, row, "too_large", message)
    label = values[columns.label] if columns.label else None
    if isinstance(label, int):
        if label >= len(columns.classes) > 0:
            message = f"label {label} is outside the {len(columns.classes)} classes of the file"
            return BadSample(key, row, "label", message)
        label = _label(label, columns.classes)
    return Sample(key, label, row, row, data)


def _label(number: int, classes: tuple[str, ...]) -> str | None:
    """A class name; -1 is how `datasets` writes an unlabelled test set."""
    if number < 0:
        return None
    return classes[number] if classes else str(number)
