"""Parts on disk: the result of a group of shards, committed once and never changed.

    parts/NAME/            state.parquet, histogram.parquet, labels.parquet, sample.parquet,
                           images.parquet, errors.parquet
    parts/NAME.json        the commit file, written last: shards with sizes and counts, the SHA-256
                           of every table, the fingerprint

A part without its commit file does not exist. NAME is derived from the fingerprint and the names
and sizes of the shards, so the same work has the same name on every machine. Inside a part,
image_id counts the part's own shards from 0; they get the dataset's ordinals when parts meet.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.errors import StoreError
from pipeline.state import statistics as stats
from pipeline.state.part import Part, ShardRecord
from pipeline.state.sample import PeakSample
from pipeline.state.topk import Ranked
from pipeline.state.unit_state import UnitState
from pipeline.store import tables as store
from pipeline.store.files import atomic_path, sha256_file, sync_file, sync_folder
from pipeline.store.schemas import ERRORS, IMAGES

__all__ = [
    "Commit",
    "DamagedPart",
    "choose_disjoint",
    "commit_part",
    "copy_part",
    "list_commits",
    "part_name",
]

_TABLES = ("state", "histogram", "labels", "sample", "images", "errors")


class DamagedPart(StoreError):
    """A committed part whose tables are not those that were committed."""


@dataclass(frozen=True, slots=True)
class Commit:
    """A part on disk, as its commit file describes it."""

    path: Path
    fingerprint: str
    shards: tuple[ShardRecord, ...]
    tables: dict[str, str]
    units: int
    k: int

    @property
    def folder(self) -> Path:
        """The folder of its tables."""
        return self.path.with_suffix("")

    def verify(self) -> None:
        """Compare every table with the SHA-256 recorded in the commit file.

        Raises:
            DamagedPart: when one is missing or differs.
            StoreError: when one cannot be read, which may pass.
        """
        for table, expected in self.tables.items():
            path = self.folder / f"{table}.parquet"
            if not path.exists() or sha256_file(path) != expected:
                raise DamagedPart(
                    f"{path} is missing or was changed after it was committed; delete {self.path} "
                    "and run `maxact index` again to index its shards again"
                )

    def load(self, *, records: bool = True) -> Part:
        """Read the part back; `records=False` leaves its images and errors empty.

        Raises:
            StoreError: when a table cannot be read.
        """
        return _read_part(self, records)


def part_name(fingerprint: str, shards: Iterable[tuple[str, int]]) -> str:
    """A name derived from the fingerprint and the names and sizes of the shards."""
    text = json.dumps([fingerprint, sorted(shards)])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def commit_part(parts: Path, part: Part, fingerprint: str) -> Commit:
    """Write a part and commit it; interrupted at any moment, the part is complete or does not exist.

    Args:
        parts: the folder of all parts.
        part: what to write.
        fingerprint: of the run.

    Raises:
        StoreError: when it cannot be written.
    """
    name = part_name(fingerprint, [(shard.name, shard.size) for shard in part.shards])
    with _atomic_folder(parts, name) as temporary:
        for table, content in _tables(part).items():
            store.write_table(temporary / f"{table}.parquet", content.schema, [content])
        tables = {table: sha256_file(temporary / f"{table}.parquet") for table in sorted(_TABLES)}
    commit = Commit(
        parts / f"{name}.json",
        fingerprint,
        part.shards,
        tables,
        *part.state.high.score.shape,
    )
    _write_commit(commit)
    return commit


def copy_part(commit: Commit, parts: Path) -> Commit:
    """Copy a committed part into another run's folder; it is copied completely or not at all.

    Raises:
        StoreError: when it cannot be read or written.
    """
    copy = replace(commit, path=parts / commit.path.name)
    if copy.path == commit.path or copy.path.exists():
        return copy
    with _atomic_folder(parts, commit.folder.name) as temporary:
        shutil.copytree(commit.folder, temporary, dirs_exist_ok=True)
        for path in temporary.iterdir():
            sync_file(path)
    _write_commit(copy)
    return copy


@contextlib.contextmanager
def _atomic_folder(parts: Path, name: str) -> Iterator[Path]:
    """A temporary folder that is renamed to `parts/name` on success and removed on failure."""
    folder, temporary = parts / name, parts / f".{name}.tmp"
    try:
        parts.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        yield temporary
        sync_folder(temporary)
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(temporary, folder)
        sync_folder(parts)
    except OSError as error:
        reason = error.strerror or error
        raise StoreError(
            f"cannot write {folder}: {reason}; parts committed earlier are intact. Free some space "
            "or fix the permissions, and run the same command again"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def list_commits(parts: Path, *, clear: bool = True) -> tuple[Commit, ...]:
    """The committed parts of a folder, by the name of their first shard.

    Args:
        parts: the folder of all parts.
        clear: remove what interrupted commits have left; not safe while another process commits.

    Raises:
        StoreError: when a commit file cannot be read.
    """
    for leftover in parts.glob(".*.tmp") if clear else ():
        shutil.rmtree(leftover, ignore_errors=True)
        with contextlib.suppress(OSError):
            leftover.unlink(missing_ok=True)
    commits = []
    for path in sorted(parts.glob("*.json")):
        try:
            content = json.loads(path.read_text())
            shards = tuple(ShardRecord(**shard) for shard in content.pop("shards"))
            commits.append(Commit(path=path, shards=shards, **content))
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise StoreError(
                f"{path} is not a commit file ({error}); delete it to index its shards again"
            ) from error
    return tuple(sorted(commits, key=lambda commit: [shard.name for shard in commit.shards]))


def _write_commit(commit: Commit) -> None:
    content = asdict(commit)
    del content["path"]
    with atomic_path(commit.path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n")


def _lists(array: npt.NDArray[Any]) -> pa.FixedSizeListArray:
    """(row, column) as one fixed-size list per row."""
    return pa.FixedSizeListArray.from_arrays(pa.array(array.reshape(-1)), array.shape[1])


def _tables(part: Part) -> dict[str, pa.Table]:
    state = part.state
    unit, bucket = state.histogram.nonzero()
    return {
        "state": pa.table(
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
            }
        ),
        "histogram": pa.table(
            {
                "unit": pa.array(unit.astype(np.int32)),
                "bucket": pa.array(bucket.astype(np.int32)),
                "images": state.histogram[unit, bucket].astype(np.int64),
            }
        ),
        "labels": pa.table(
            {
                "label": pa.array(state.labels.labels, pa.string()),
                "images": state.labels.images,
                "total": _lists(state.labels.total),
            }
        ),
        "sample": pa.table(
            {
                "hash": state.sample.hashes,
                "image_id": state.sample.image_id,
                "peak": _lists(state.sample.peak),
                "position": _lists(state.sample.position),
            }
        ),
        "images": part.images,
        "errors": part.errors,
    }


def _matrix(column: pa.ChunkedArray, rows: int, columns: int) -> npt.NDArray[Any]:
    flat = column.combine_chunks().flatten() if rows else pa.array([], column.type.value_type)
    return np.asarray(flat.to_numpy(zero_copy_only=False)).reshape(rows, columns)


def _read_part(commit: Commit, records: bool) -> Part:
    def table(name: str) -> pa.Table:
        return store.read_table(commit.folder / f"{name}.parquet")

    units, k = commit.units, commit.k
    state, counts, labels, sample = map(table, ("state", "histogram", "labels", "sample"))
    histogram = np.zeros((units, stats.BUCKETS), np.int64)
    histogram[counts["unit"].to_numpy(), counts["bucket"].to_numpy()] = counts["images"].to_numpy()

    def ranked(side: str) -> Ranked:
        fields = ("score", "image_id", "position")
        return Ranked(*(_matrix(state[f"{side}_{field}"], units, k) for field in fields))

    moments = (state[name].to_numpy() for name in ("mean", "m2", "low", "high", "active"))
    unit_state = UnitState(
        ranked("high"),
        ranked("low"),
        stats.Moments(sum(shard.images for shard in commit.shards), *moments),
        histogram,
        stats.LabelSums(
            tuple(labels["label"].to_pylist()),
            labels["images"].to_numpy(),
            _matrix(labels["total"], labels.num_rows, units),
        ),
        PeakSample(
            sample["hash"].to_numpy(),
            sample["image_id"].to_numpy(),
            _matrix(sample["peak"], sample.num_rows, units),
            _matrix(sample["position"], sample.num_rows, units),
        ),
    )
    return Part(
        commit.shards,
        unit_state,
        table("images") if records else IMAGES.empty_table(),
        table("errors") if records else ERRORS.empty_table(),
    )


def choose_disjoint(commits: Iterable[Commit]) -> tuple[tuple[Commit, ...], tuple[str, ...]]:
    """Choose committed parts so that no shard is counted twice.

    A part whose shards are all in other parts is left out. Of two parts that share some shards, the
    one with more shards is kept; shards of the other one only must be indexed again.

    Returns:
        The chosen commits, by the name of their first shard, and the names of the shards that no
        chosen commit has.
    """
    chosen: list[Commit] = []
    covered: set[str] = set()
    everything: set[str] = set()
    ranked = sorted(commits, key=lambda item: (-len(item.shards), [s.name for s in item.shards]))
    for commit in ranked:
        names = {shard.name for shard in commit.shards}
        everything |= names
        if not names & covered:
            chosen.append(commit)
            covered |= names
    chosen.sort(key=lambda item: [shard.name for shard in item.shards])
    return tuple(chosen), tuple(sorted(everything - covered))
