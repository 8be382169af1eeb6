"""Parquet files with a column of encoded images, in the layout of the Hugging Face hub.

The image column is a struct with `bytes` (and `path`), or binary. Integer labels are replaced by
class names if the file's `huggingface` metadata contains them. The offset of an image is its row in
the file.
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
from pipeline.data.shard import MAX_MEMBER_BYTES, BadSample, Sample, Shard, stamp_files
from pipeline.errors import ShardError, SourceError
from pipeline.image_id import MAX_POSITIONS

__all__ = ["ParquetShard", "parquet_shard"]

IMAGE_COLUMNS = ("image", "img", "jpg", "png", "bytes", "image_bytes")
"""Names of the image column, in order of precedence; otherwise the only struct with `bytes` is used."""

LABEL_COLUMNS = ("label", "labels", "class", "cls", "fine_label")
"""Names of the label column, in order of precedence."""

BATCH_ROWS = 32
"""Rows read at a time, which bounds the memory that streaming needs."""


@dataclass(frozen=True, slots=True)
class _Columns:
    """The columns of a file that are read.

    Args:
        image: name of the image column.
        struct: whether it is a struct with `bytes`, and not binary.
        label: name of the label column, if there is one.
        classes: class names by integer label; empty if unknown.
    """

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
        """Stream the rows in order."""
        with _open_file(self.name, self.url, self.size) as file:
            columns = _find_columns(self.name, file.schema_arrow)
            if file.metadata.num_rows > MAX_POSITIONS:
                raise ShardError(
                    self.name, f"has more than {MAX_POSITIONS:,} rows; split it into several files"
                )
            wanted = [columns.image, *([columns.label] if columns.label else [])]
            batches = file.iter_batches(batch_size=BATCH_ROWS, columns=wanted, use_threads=False)
            row = 0
            while (batch := _next_batch(self.name, batches, row)) is not None:
                for values in batch.to_pylist():
                    yield _to_sample(values, row, columns)
                    row += 1
            if row != file.metadata.num_rows:
                rows = file.metadata.num_rows
                raise ShardError(self.name, f"yielded {row} rows, expected {rows} according to its footer")

    def stamp(self) -> str:
        """Of the file."""
        return "" if is_url(self.url) else stamp_files(self.name, [(self.url, self.size)])

    def read(self, key: str, offset: int, nbytes: int) -> bytes:
        """Read one row from its row group."""
        with _open_file(self.name, self.url, self.size) as file:
            columns = _find_columns(self.name, file.schema_arrow)
            group, row = _locate_row(self.name, file.metadata, offset)
        values = _read_row_group(self.name, self.url, self.size, group, columns.image)[row].as_py()
        data = values.get("bytes") if isinstance(values, dict) else values
        if not isinstance(data, bytes) or len(data) != nbytes:
            raise ShardError(
                self.name, f"row {offset} is no longer the image {key!r} of {nbytes} bytes; index again"
            )
        return data


def parquet_shard(url: str) -> ParquetShard:
    """Create the shard of a file, without a name; the number of rows is known for local files.

    Raises:
        SourceError: if the file does not exist.
    """
    size = size_of(url)
    count = None
    if not is_url(url):
        try:
            count = pq.read_metadata(url).num_rows
        except (pa.ArrowException, OSError):
            count = None  # the error is raised with the name of the shard when it is read
    return ParquetShard(name="", size=size, count_hint=count, url=url)


@contextmanager
def _open_file(name: str, url: str, size: int) -> Iterator[pq.ParquetFile]:
    """Open a file; every error becomes a ShardError."""
    try:
        with open_binary(url, size) as source:
            try:
                file = pq.ParquetFile(source, pre_buffer=False)
            except (pa.ArrowException, OSError) as error:
                raise ShardError(
                    name, f"is not a Parquet file or is truncated: {_one_line(error)}; copy it again"
                ) from error
            yield file
    except ShardError:
        raise
    except SourceError as error:
        raise ShardError(name, str(error)) from error


def _next_batch(name: str, batches: Iterator[pa.RecordBatch], row: int) -> pa.RecordBatch | None:
    try:
        return next(batches, None)
    except (pa.ArrowException, OSError) as error:
        raise ShardError(name, f"is damaged after row {row}: {_one_line(error)}; copy it again") from error


def _one_line(error: Exception) -> str:
    """Return the message of an Arrow error without line breaks."""
    return " ".join(str(error).split()).rstrip(".")


@functools.lru_cache(maxsize=1)
def _read_row_group(name: str, url: str, size: int, group: int, column: str) -> pa.ChunkedArray:
    """Read the images of one row group; the last group is cached for reads of neighbouring rows."""
    with _open_file(name, url, size) as file:
        try:
            return file.read_row_group(group, columns=[column], use_threads=False)[column]
        except (pa.ArrowException, OSError) as error:
            raise ShardError(
                name, f"row group {group} cannot be read: {_one_line(error)}; copy the file again"
            ) from error


def _locate_row(name: str, metadata: Any, row: int) -> tuple[int, int]:
    """Return the row group that contains a row, and the index of the row within it."""
    first = 0
    for group in range(metadata.num_row_groups):
        rows = metadata.row_group(group).num_rows
        if first <= row < first + rows:
            return group, row - first
        first += rows
    raise ShardError(name, f"has {first} rows, so there is no row {row}; index again")


def _find_columns(name: str, schema: pa.Schema) -> _Columns:
    """Find the image and the label column.

    Raises:
        ShardError: if there is no image column, or a column has an unsupported type.
    """
    image = next((column for column in IMAGE_COLUMNS if column in schema.names), None)
    if image is None:
        structs = [field.name for field in schema if _has_bytes(field.type)]
        if len(structs) != 1:
            raise ShardError(
                name,
                f"no image column among {', '.join(schema.names) or 'no columns'}; expected `image` as "
                "a struct with `bytes`, or as binary",
            )
        image = structs[0]
    kind = schema.field(image).type
    struct = _has_bytes(kind)
    if not struct and not _is_binary(kind):
        raise ShardError(name, f"column `{image}` has type {kind}, expected a struct with `bytes`, or binary")
    label = next((column for column in LABEL_COLUMNS if column in schema.names), None)
    if label is not None:
        kind = schema.field(label).type
        if pa.types.is_dictionary(kind):
            kind = kind.value_type
        if not (pa.types.is_integer(kind) or _is_text(kind)):
            raise ShardError(name, f"column `{label}` has type {kind}, expected integers or text")
    return _Columns(image, struct, label, _class_names(schema, label))


def _has_bytes(kind: pa.DataType) -> bool:
    """Return whether a type is a struct with a binary field `bytes`."""
    return bool(pa.types.is_struct(kind)) and any(
        child.name == "bytes" and _is_binary(child.type) for child in kind
    )


def _is_binary(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _is_text(kind: pa.DataType) -> bool:
    tests = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    return any(test(kind) for test in tests)


def _class_names(schema: pa.Schema, label: str | None) -> tuple[str, ...]:
    """Return the class names that `datasets` stores for a ClassLabel; empty if there are none."""
    try:
        notes = json.loads((schema.metadata or {})[b"huggingface"])
        names = notes["info"]["features"][label]["names"]
    except (KeyError, TypeError, ValueError):
        return ()
    return tuple(names) if all(isinstance(name, str) for name in names) else ()


def _to_sample(values: dict[str, Any], row: int, columns: _Columns) -> Sample | BadSample:
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
        label = _class_name(label, columns.classes)
    return Sample(key, label, row, row, data)


def _class_name(number: int, classes: tuple[str, ...]) -> str | None:
    """Return the class name of a label; `datasets` writes -1 for images without a label."""
    if number < 0:
        return None
    return classes[number] if classes else str(number)
