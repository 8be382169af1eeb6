"""Parts read in pieces: a block of units, some labels, some images of the sample.

What is in memory depends on the piece, not on the part. Of a part of an earlier version, whose row groups
are larger, more is decoded for each block of units.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.errors import StoreError
from pipeline.state import statistics as stats
from pipeline.state.label_sums import HALVES
from pipeline.state.topk import Ranked
from pipeline.store.table_files import TableFile

__all__ = [
    "LabelTable",
    "PartBlock",
    "iterate_sample",
    "read_block",
    "read_sample_images",
    "read_squares",
]

_LISTED = tuple(f"{side}_{field}" for side in ("high", "low") for field in ("score", "image_id", "position"))

_MOMENTS = ("mean", "m2", "low", "high", "active")

_PIECE_BYTES = 16 << 20
"""Bytes of a piece of a table with a list over all units in each row."""


@dataclass(frozen=True, slots=True)
class PartBlock:
    """What a part has of a block of units.

    Args:
        high: as of `UnitState`, with the part's own image_ids.
        low: likewise.
        moments: of all peaks.
        bucket: (count,) int64, unit in the block * `BUCKETS` + bucket; no two are equal.
        count: (count,) int64, images of each.
    """

    high: Ranked
    low: Ranked
    moments: stats.Moments
    bucket: npt.NDArray[np.int64]
    count: npt.NDArray[np.int64]


def read_block(folder: Path, images: int, units: slice, k: int) -> PartBlock:
    """Read a block of units of a part.

    Args:
        folder: of the part's tables.
        images: of the part.
        units: the block.
        k: images kept per unit and side.

    Raises:
        StoreError: when a table cannot be read, or has fewer units.
    """
    path, size = folder / "state.parquet", units.stop - units.start
    with TableFile(path) as file:
        table, first = file.rows_within(units, (*_LISTED, *_MOMENTS))
    state = table.slice(units.start - first, size)
    if state.num_rows != size:
        raise StoreError(f"{path} has fewer units than its commit file says")

    def ranked(side: str) -> Ranked:
        fields = ("score", "image_id", "position")
        return Ranked(*(_matrix(state[f"{side}_{field}"], size, k) for field in fields))

    moments = stats.Moments(images, *(state[name].to_numpy() for name in _MOMENTS))
    return PartBlock(ranked("high"), ranked("low"), moments, *_read_histogram(folder, units))


def _read_histogram(folder: Path, units: slice) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    with TableFile(folder / "histogram.parquet") as file:
        table = file.read(("unit", "bucket", "images"), file.groups_of("unit", units))
    unit = table["unit"].to_numpy()
    rows = slice(*np.searchsorted(unit, (units.start, units.stop)))
    bucket = (unit[rows].astype(np.int64) - units.start) * stats.BUCKETS + table["bucket"].to_numpy()[rows]
    return bucket, table["images"].to_numpy()[rows]


class LabelTable:
    """The sums per label of a part; to be closed.

    Args:
        folder: of the part's tables.
        units: of all layers together.

    Raises:
        StoreError: when the table cannot be read, or is of an earlier version.
    """

    def __init__(self, folder: Path, units: int) -> None:
        self.units = units
        self._file = TableFile(folder / "labels.parquet")
        counts = [f"images_{half}" for half in range(HALVES)]
        if not {*counts} <= {*self._file.schema.names}:
            self._file.close()
            raise StoreError(
                f"{folder} was written by an earlier version, without sums per half of the images; index "
                "again with --fresh, or use the maxact that wrote it"
            )
        table = self._file.read(("label", *counts))
        self.labels: tuple[str, ...] = tuple(table["label"].to_pylist())
        self.images: npt.NDArray[np.int64] = np.stack([table[name].to_numpy() for name in counts])

    def __enter__(self) -> Self:
        """The open table."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Close it."""
        self._file.close()

    @property
    def is_small(self) -> bool:
        """Whether `totals` has them all at once."""
        return len(self.labels) * 8 * HALVES * self.units <= _PIECE_BYTES

    def totals(self) -> Iterator[tuple[slice, tuple[npt.NDArray[np.float64], ...]]]:
        """The sums of a span of labels at a time.

        Yields:
            The span, and of each half (label, unit) float64.

        Raises:
            StoreError: when the table cannot be read.
        """
        columns = [f"total_{half}" for half in range(HALVES)]
        for span, batch in _pieces(self._file, columns, 8 * HALVES * self.units):
            yield span, tuple(_matrix(batch[name], batch.num_rows, self.units) for name in columns)


def read_squares(folder: Path) -> npt.NDArray[np.float64]:
    """(half, unit) float64, the sums of squared peaks of labelled images.

    Raises:
        StoreError: when the table cannot be read.
    """
    columns = [f"squares_{half}" for half in range(HALVES)]
    with TableFile(folder / "state.parquet") as file:
        table = file.read(columns)
    return np.stack([table[name].to_numpy() for name in columns])


def read_sample_images(folder: Path) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Hashes and image_ids of the images in a part's sample.

    Raises:
        StoreError: when the table cannot be read.
    """
    with TableFile(folder / "sample.parquet") as file:
        table = file.read(("hash", "image_id"))
    return table["hash"].to_numpy(), table["image_id"].to_numpy()


def iterate_sample(
    folder: Path, units: int
) -> Iterator[tuple[slice, npt.NDArray[np.float32], npt.NDArray[np.int32]]]:
    """A part's sample, a span of its images at a time.

    Args:
        folder: of the part's tables.
        units: of all layers together.

    Yields:
        The span; (image, unit) peaks float32; and their positions int32.

    Raises:
        StoreError: when the table cannot be read.
    """
    with TableFile(folder / "sample.parquet") as file:
        for span, batch in _pieces(file, ("peak", "position"), 8 * units):
            peak, position = (_matrix(batch[name], batch.num_rows, units) for name in ("peak", "position"))
            yield span, peak, position


def _pieces(file: TableFile, columns: Sequence[str], row_bytes: int) -> Iterator[tuple[slice, pa.Table]]:
    first = 0
    for batch in file.batches(columns, max(1, _PIECE_BYTES // max(row_bytes, 1))):
        yield slice(first, first + batch.num_rows), pa.Table.from_batches([batch])
        first += batch.num_rows


def _matrix(column: pa.ChunkedArray, rows: int, columns: int) -> npt.NDArray[Any]:
    """(row, column) from one list per row."""
    flat = column.combine_chunks().flatten() if rows else pa.array([], column.type.value_type)
    return np.asarray(flat.to_numpy(zero_copy_only=False)).reshape(rows, columns)
