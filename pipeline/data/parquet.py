"""Parquet files with a column of encoded images, in the layout of the Hugging Face hub.

The image column is a struct with `bytes` (and `path`), or binary. Integer labels are replaced by
class names if the file's `huggingface` metadata contains them. The offset of an image is its row in
the file.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.data.files import is_url, open_binary, size_of
from pipeline.data.shard import BadSample, Sample, Shard, stamp_files
from pipeline.errors import ShardError, SourceError
from pipeline.image_id import MAX_POSITIONS

__all__ = ["ParquetShard", "parquet_shard"]

IMAGE_COLUMNS = ("image", "img", "jpg", "png", "bytes", "image_bytes")
"""Names of the image column: the first where a file has it, else the only one of the others; otherwise
the only struct with `bytes` is used."""

LABEL_COLUMNS = ("label", "labels", "class", "cls", "fine_label")
"""Names of the label column, in order of precedence."""

BATCH_ROWS = 32
"""Rows read at a time, at most."""

BATCH_BYTES = 1 << 28
"""Bytes (256 MiB) that the rows read at a time may need: each may be as large as its whole column, as
repeated values are stored once."""

MAX_VALUE_BYTES = 1 << 28
"""Bytes (256 MiB) of an image above which its row is refused."""

MAX_GROUP_BYTES = 1 << 30
"""Uncompressed bytes (1 GiB) of a row group's images and labels above which the file is refused."""

MAX_EXPANSION = 100
"""Ratio of uncompressed to compressed bytes of a row group above which the file is refused: encoded
images do not shrink."""

SMALL_BYTES = 1 << 26
"""Uncompressed bytes (64 MiB) of a row group that may have any such ratio."""


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

    @property
    def wanted(self) -> list[str]:
        """Names of the columns to read."""
        return [self.image, self.label] if self.label else [self.image]


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
            row = 0
            for batch in _read_batches(self.name, file, columns):
                for values in _to_rows(batch):
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
        _check_size(self.name, file.metadata, group, columns)
        data = _read_row_group(self, self.stamp(), group, columns)[row].as_py()
        if not isinstance(data, bytes) or len(data) != nbytes:
            raise ShardError(
                self.name, f"row {offset} is no longer the image {key!r} of {nbytes} bytes; index again"
            )
        return data

    def read_column(self, column: str, offset: int) -> bytes | None:
        """Read another column of encoded pictures, such as masks, at one row; None where it is null.

        Raises:
            ShardError: if there is no such column, or it cannot be read.
        """
        with _open_file(self.name, self.url, self.size) as file:
            schema = file.schema_arrow
            if schema.names.count(column) != 1 or not _is_image(schema.field(column).type):
                usable = [field.name for field in schema if _is_image(field.type)]
                raise ShardError(
                    self.name,
                    f"has no column {column!a} of encoded pictures; it has {', '.join(usable) or 'none'}",
                )
            group, row = _locate_row(self.name, file.metadata, offset)
            columns = _Columns(column, _has_bytes(schema.field(column).type), None, ())
            _check_size(self.name, file.metadata, group, columns)
        data = _read_other_group(self, self.stamp(), group, columns)[row].as_py()
        return data if isinstance(data, bytes) else None


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
        except (pa.ArrowException, OSError, ValueError):
            count = None  # the error is raised with the name of the shard when it is read
    return ParquetShard(name="", size=size, count_hint=count, url=url)


@contextmanager
def _open_file(name: str, url: str, size: int, *, encoded: Sequence[str] = ()) -> Iterator[pq.ParquetFile]:
    """Open a file; every error becomes a ShardError. Columns in `encoded` keep their dictionaries."""
    try:
        with open_binary(url, size) as source:
            try:
                file = pq.ParquetFile(source, pre_buffer=False, read_dictionary=list(encoded))
            except MemoryError:
                raise
            except (pa.ArrowException, OSError, ValueError) as error:
                raise ShardError(
                    name, f"is not a Parquet file or is truncated: {_one_line(error)}; copy it again"
                ) from error
            yield file
    except ShardError:
        raise
    except SourceError as error:
        raise ShardError(name, str(error)) from error


def _read_batches(name: str, file: pq.ParquetFile, columns: _Columns) -> Iterator[pa.RecordBatch]:
    """Read the wanted columns, as many rows at a time as are sure to fit into memory."""
    row = 0
    for group in range(file.metadata.num_row_groups):
        size = _check_size(name, file.metadata, group, columns)
        rows = max(1, min(BATCH_ROWS, BATCH_BYTES // max(size, 1)))
        try:
            for batch in file.iter_batches(rows, [group], columns.wanted, use_threads=False):
                yield batch
                row += batch.num_rows
        except MemoryError:
            raise
        except (pa.ArrowException, OSError) as error:
            raise ShardError(
                name, f"is damaged after row {row}: {_one_line(error)}; copy it again"
            ) from error


def _check_size(name: str, metadata: Any, group: int, columns: _Columns) -> int:
    """Return the uncompressed size of the wanted columns in a row group, in bytes.

    Raises:
        ShardError: if they are too large to be read at once.
    """
    chunks = [metadata.row_group(group).column(number) for number in range(metadata.num_columns)]
    wanted = [chunk for chunk in chunks if chunk.path_in_schema.partition(".")[0] in columns.wanted]
    size: int = sum(max(chunk.total_uncompressed_size, 0) for chunk in wanted)
    stored = sum(max(chunk.total_compressed_size, 0) for chunk in wanted)
    if size > MAX_GROUP_BYTES:
        raise ShardError(
            name,
            f"row group {group} has {size:,} bytes of images, the limit is {MAX_GROUP_BYTES:,}; write "
            "the file again with fewer rows per row group",
        )
    if size > max(SMALL_BYTES, MAX_EXPANSION * stored):
        raise ShardError(
            name,
            f"row group {group} expands from {stored:,} to {size:,} bytes, which no encoded images do; "
            "the file is damaged or made to exhaust memory",
        )
    return size


def _to_rows(batch: pa.RecordBatch) -> list[dict[str, Any] | None]:
    """The rows of a batch as Python objects; None for one with text that is not UTF-8."""
    try:
        return list(batch.to_pylist())
    except UnicodeDecodeError:
        return [_to_row(batch, row) for row in range(batch.num_rows)]


def _to_row(batch: pa.RecordBatch, row: int) -> dict[str, Any] | None:
    try:
        return {name: batch.column(name)[row].as_py() for name in batch.schema.names}
    except UnicodeDecodeError:
        return None


def _one_line(error: Exception) -> str:
    """Return the message of an Arrow error without line breaks."""
    return " ".join(str(error).split()).rstrip(".")


@functools.lru_cache(maxsize=1)
def _read_row_group(shard: ParquetShard, _stamp: str, group: int, columns: _Columns) -> pa.ChunkedArray:
    """Read the images of one row group; the last group is cached for reads of neighbouring rows.

    Repeated values are not copied, so that this needs no more memory than `_check_size` allows. The
    stamp keeps the cache from answering for a file that has been replaced.
    """
    path = f"{columns.image}.bytes" if columns.struct else columns.image
    with _open_file(shard.name, shard.url, shard.size, encoded=[path]) as file:
        try:
            images = file.read_row_group(group, columns=[path], use_threads=False)[columns.image]
            return pc.struct_field(images, "bytes") if columns.struct else images
        except MemoryError:
            raise
        except (pa.ArrowException, OSError) as error:
            raise ShardError(
                shard.name, f"row group {group} cannot be read: {_one_line(error)}; copy the file again"
            ) from error


_read_other_group = functools.lru_cache(maxsize=1)(_read_row_group.__wrapped__)
"""The same for another column, which is read in turn with that of the images."""


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
    for column in (*IMAGE_COLUMNS, *LABEL_COLUMNS):
        if schema.names.count(column) > 1:
            raise ShardError(name, f"has {schema.names.count(column)} columns `{column}`; keep one of them")
    image = _find_image(name, schema)
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


def _find_image(name: str, schema: pa.Schema) -> str:
    """Find the name of the image column.

    Raises:
        ShardError: if there is none, or several and none is called `image`.
    """
    named = [column for column in IMAGE_COLUMNS if column in schema.names]
    if named[:1] == ["image"]:
        return "image"
    usable = [column for column in named if _is_image(schema.field(column).type)]
    found = usable or named or [field.name for field in schema if _has_bytes(field.type)]
    if not found:
        raise ShardError(
            name,
            f"no image column among {', '.join(schema.names) or 'no columns'}; expected `image` as "
            "a struct with `bytes`, or as binary",
        )
    if len(found) > 1:
        raise ShardError(
            name, f"has several image columns ({', '.join(found)}); rename the one to be used to `image`"
        )
    return found[0]


def _is_image(kind: pa.DataType) -> bool:
    return _has_bytes(kind) or _is_binary(kind)


def _has_bytes(kind: pa.DataType) -> bool:
    """Return whether a type is a struct with one binary field `bytes`."""
    fields = [child.type for child in kind if child.name == "bytes"] if pa.types.is_struct(kind) else []
    return len(fields) == 1 and _is_binary(fields[0])


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
    except (KeyError, TypeError, ValueError, RecursionError):
        return ()
    known = isinstance(names, list) and all(isinstance(name, str) for name in names)
    return tuple(names) if known else ()


def _to_sample(values: dict[str, Any] | None, row: int, columns: _Columns) -> Sample | BadSample:
    if values is None:
        return BadSample(f"{row:08}", row, "text", "its path or its label is not UTF-8 text")
    image = values[columns.image]
    path = image.get("path") if columns.struct and image is not None else None
    key = path if isinstance(path, str) and path else f"{row:08}"
    data = image["bytes"] if columns.struct and image is not None else image
    if data is None:
        where = f" (only the path {path!r})" if path else ""
        return BadSample(key, row, "no_image", f"the row holds no image bytes{where}")
    if len(data) > MAX_VALUE_BYTES:
        message = f"{len(data):,} bytes are more than the {MAX_VALUE_BYTES:,} an image may have"
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
