"""The tables of a part: its arrays as Parquet columns, and back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.errors import StoreError
from pipeline.state import statistics as stats
from pipeline.state.label_sums import HALVES, LabelSums
from pipeline.state.part import Part, ShardRecord
from pipeline.state.sample import PeakSample
from pipeline.state.topk import Ranked
from pipeline.state.unit_state import UnitState
from pipeline.store import tables as store
from pipeline.store.schemas import ERRORS, PART_IMAGES

__all__ = ["UNITS_PER_GROUP", "PartTable", "read_part", "tables_of"]

UNITS_PER_GROUP = 1 << 12
"""Units of a row group of `state`; parts of earlier versions have up to 100,000."""

_GROUP_BYTES = 64 << 20
"""Bytes of a row group of tables with a list over all units in each row."""


@dataclass(frozen=True, slots=True)
class PartTable:
    """A table of a part as it is written.

    Args:
        schema: of the table.
        batches: its rows, in order; they can be taken once.
        row_group_rows: rows of a row group; of these a merge reads few at a time.
    """

    schema: pa.Schema
    batches: Iterable[pa.Table]
    row_group_rows: int = store.ROW_GROUP_ROWS


def _lists(array: npt.NDArray[Any]) -> pa.FixedSizeListArray:
    """(row, column) as one fixed-size list per row."""
    return pa.FixedSizeListArray.from_arrays(pa.array(array.reshape(-1)), array.shape[1])


def _counts(histogram: stats.Counts) -> PartTable:
    """The buckets that are not empty; found a span of units at a time, with fewer temporary arrays."""
    columns = pa.schema([("unit", pa.int32()), ("bucket", pa.int32()), ("images", pa.int64())])

    def pieces() -> Iterator[pa.Table]:
        for span in stats.column_spans(len(histogram)):
            counts = histogram[span]
            unit, bucket = counts.nonzero()
            found = [(unit + span.start).astype(np.int32), bucket.astype(np.int32)]
            yield pa.table([*found, counts[unit, bucket].astype(np.int64)], columns)

    return PartTable(columns, pieces())


def _labels(sums: LabelSums) -> PartTable:
    """The sums per label, a few labels at a time."""
    halves, row_bytes = range(HALVES), 8 * HALVES * sums.units
    most = _rows_of(row_bytes)

    def piece(labels: slice) -> pa.Table:
        return pa.table(
            {
                "label": pa.array(sums.labels[labels], pa.string()),
                **{f"images_{half}": sums.images[half, labels] for half in halves},
                **{f"total_{half}": _lists(sums.read(half, labels=labels)) for half in halves},
            }
        )

    spans = (slice(first, first + most) for first in range(0, len(sums.labels), most))
    return PartTable(piece(slice(0, 0)).schema, map(piece, spans), most)


def _rows_of(row_bytes: int) -> int:
    """Rows of a row group whose columns are lists over all units."""
    return max(1, min(store.ROW_GROUP_ROWS, _GROUP_BYTES // max(row_bytes, 1)))


def tables_of(part: Part) -> dict[str, PartTable]:
    """The tables of a part, by name."""
    state = part.state
    units = pa.table(
        {
            **{
                f"{side}_{field}": _lists(getattr(getattr(state, side), field))
                for side in ("high", "low")
                for field in ("score", "image_id", "position")
            },
            "mean": state.moments.mean,
            "m2": state.moments.m2,
            "low": state.moments.low,
            "high": state.moments.high,
            "active": state.moments.active,
            **{f"squares_{half}": state.labels.squares[half] for half in range(HALVES)},
        }
    )
    sample = pa.table(
        {
            "hash": state.sample.hashes,
            "image_id": state.sample.image_id,
            "peak": _lists(state.sample.peak),
            "position": _lists(state.sample.position),
        }
    )
    sample_rows = _rows_of(8 * len(state.histogram))
    return {
        "state": PartTable(units.schema, [units], UNITS_PER_GROUP),
        "histogram": _counts(state.histogram),
        "labels": _labels(state.labels),
        "sample": PartTable(sample.schema, [sample], sample_rows),
        "images": PartTable(part.images.schema, [part.images]),
        "errors": PartTable(part.errors.schema, [part.errors]),
    }


def _matrix(column: pa.ChunkedArray, rows: int, columns: int) -> npt.NDArray[Any]:
    flat = column.combine_chunks().flatten() if rows else pa.array([], column.type.value_type)
    return np.asarray(flat.to_numpy(zero_copy_only=False)).reshape(rows, columns)


def _label_table(folder: Path) -> pa.Table:
    """The table of labels of a part.

    Raises:
        StoreError: when it cannot be read, or is of an earlier version.
    """
    labels = store.read_table(folder / "labels.parquet")
    if "images_0" not in labels.column_names:
        raise StoreError(
            f"{folder} was written by an earlier version, without sums per half of the images; index again "
            "with --fresh, or use the maxact that wrote it"
        )
    return labels


def _label_sums(labels: pa.Table, state: pa.Table, units: int) -> LabelSums:
    halves = range(HALVES)
    return LabelSums(
        tuple(labels["label"].to_pylist()),
        np.stack([labels[f"images_{half}"].to_numpy() for half in halves]),
        np.stack([_matrix(labels[f"total_{half}"], labels.num_rows, units) for half in halves]),
        np.stack([state[f"squares_{half}"].to_numpy() for half in halves]),
    )


def read_part(
    folder: Path, shards: tuple[ShardRecord, ...], units: int, k: int, *, records: bool = True
) -> Part:
    """Read a part back from the folder of its tables.

    Args:
        folder: with a file for each of `tables_of`.
        shards: of the part.
        units: of all layers together.
        k: images kept per unit and side.
        records: read its images and errors as well; otherwise both are empty.

    Raises:
        StoreError: when a table cannot be read.
    """

    def table(name: str) -> pa.Table:
        return store.read_table(folder / f"{name}.parquet")

    labels = _label_table(folder)
    state, sample = map(table, ("state", "sample"))
    images = sum(shard.images for shard in shards)
    histogram = np.zeros((units, stats.BUCKETS), stats.count_type(images))
    for batch in table("histogram").to_batches():
        histogram[batch["unit"].to_numpy(), batch["bucket"].to_numpy()] = batch["images"].to_numpy()

    def ranked(side: str) -> Ranked:
        fields = ("score", "image_id", "position")
        return Ranked(*(_matrix(state[f"{side}_{field}"], units, k) for field in fields))

    moments = (state[name].to_numpy() for name in ("mean", "m2", "low", "high", "active"))
    unit_state = UnitState(
        ranked("high"),
        ranked("low"),
        stats.Moments(images, *moments),
        histogram,
        _label_sums(labels, state, units),
        PeakSample(
            sample["hash"].to_numpy(),
            sample["image_id"].to_numpy(),
            _matrix(sample["peak"], sample.num_rows, units),
            _matrix(sample["position"], sample.num_rows, units),
        ),
    )
    return Part(
        shards,
        unit_state,
        table("images") if records else PART_IMAGES.empty_table(),
        table("errors") if records else ERRORS.empty_table(),
    )
