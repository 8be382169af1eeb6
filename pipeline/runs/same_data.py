"""Compares committed shards with the dataset, so that a replaced file is not mixed with old results.

A file that nothing has written to since it was indexed (the same time of change, inode and size) is
taken as the same. The others are read again and compared with what was recorded: completely while
that is little to read, else a sample of each shard.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.data.content import ShardReader, byte_digest
from pipeline.data.shard import Sample, Shard
from pipeline.errors import FingerprintMismatch
from pipeline.image_id import POSITION_BITS
from pipeline.progress import Reporter
from pipeline.state.commit import Commit
from pipeline.state.part import ShardRecord
from pipeline.store.tables import read_table
from pipeline.working_copies import pull

__all__ = ["refuse_replaced_shards"]

WHOLE_BYTES = 1 << 30
"""Local shards of up to this many bytes (1 GiB) together are compared completely."""

FIRST_SAMPLES, SPREAD_SAMPLES = 8, 8
"""Of a larger one: samples at its start, compared with their keys and labels, and images spread over
the rest, compared by their bytes."""


@dataclass(frozen=True, slots=True)
class _Suspect:
    """A committed shard whose files may have been replaced."""

    shard: Shard
    record: ShardRecord
    commit: Commit


def refuse_replaced_shards(
    out: Path, commits: Iterable[Commit], shards: Sequence[Shard], reporter: Reporter
) -> None:
    """Compare the content of committed shards with the dataset; names and sizes are equal already.

    Args:
        out: folder of the run, for the error.
        commits: its parts.
        shards: of the dataset.
        reporter: shows the progress of reading.

    Raises:
        FingerprintMismatch: when a shard has other content than when it was indexed.
        ShardError: when a shard can no longer be read.
    """
    present = {shard.name: shard for shard in shards}
    suspects = [
        _Suspect(present[record.name], record, commit)
        for commit in commits
        for record in commit.shards
        if record.name in present and _may_differ(present[record.name], record)
    ]
    if not suspects:
        return
    whole = sum(item.shard.size for item in suspects if item.record.stamp) <= WHOLE_BYTES
    with reporter.task("comparing committed shards", len(suspects), "shards") as task:
        for item in suspects:
            equal = _equals_whole(item) if whole and item.record.stamp else _equals_sample(item)
            if not equal:
                raise FingerprintMismatch(
                    f"shard {item.record.name}, which is committed in {out}, has other content than when "
                    "it was indexed (of the same size). Restore it, give another OUT, or --fresh to "
                    "remove that run and start over"
                )
            task.advance()


def _may_differ(shard: Shard, record: ShardRecord) -> bool:
    return bool(record.content) and (not record.stamp or shard.stamp() != record.stamp)


def _equals_whole(item: _Suspect) -> bool:
    reader = ShardReader(item.shard)
    for _ in reader:
        pass
    return reader.content == item.record.content


def _equals_sample(item: _Suspect) -> bool:
    """Compare the first samples with their rows, and the bytes of images spread over the others."""
    rows = _rows(item)
    with contextlib.closing(iter(ShardReader(item.shard))) as samples:
        for sample in itertools.islice(samples, FIRST_SAMPLES):
            row = rows.get(sample.position)
            if row is not None and not (isinstance(sample, Sample) and _same(sample, row)):
                return False
    chosen = np.linspace(0, len(rows) - 1, SPREAD_SAMPLES).round().astype(int)
    positions = sorted(rows)
    for place in dict.fromkeys(chosen.tolist()) if rows else ():
        row = rows[positions[place]]
        if byte_digest(item.shard.read(row["key"], row["offset"], row["bytes"])) != row["digest"]:
            return False
    return True


def _same(sample: Sample, row: Mapping[str, Any]) -> bool:
    recorded = tuple(row[name] for name in ("key", "label", "origin", "offset", "bytes", "digest"))
    read = (sample.key, sample.label, sample.origin, sample.offset, sample.nbytes, sample.digest)
    return recorded == read


def _rows(item: _Suspect) -> dict[int, dict[str, Any]]:
    """The recorded images of the shard, by position."""
    names = [record.name for record in item.commit.shards]
    pull(item.commit.path.parent.parent, f"parts/{item.commit.path.stem}/images.parquet")
    images = read_table(item.commit.folder / "images.parquet")
    ids = images["image_id"].to_numpy()
    own = images.filter(pa.array(ids >> POSITION_BITS == names.index(item.record.name)))
    columns = ["image_id", "key", "label", "origin", "offset", "bytes", "digest"]
    return {row["image_id"] & ((1 << POSITION_BITS) - 1): row for row in own.select(columns).to_pylist()}
