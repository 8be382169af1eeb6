"""Commit files: what a part on disk is, and whether it still is that.

A commit file carries its own SHA-256 and those of the part's tables. Commit files of earlier versions
have no digest of their own; their counts are compared with the tables instead.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from pipeline.errors import DamagedFile, StoreError, UnreadableFile
from pipeline.image_id import POSITION_BITS
from pipeline.state.part import Part, ShardRecord
from pipeline.state.part_tables import read_part
from pipeline.store import tables as store
from pipeline.store.files import atomic_path, sha256_file
from pipeline.store.peak_files import PEAKS, PEAKS_FILE
from pipeline.store.run_record import COMMIT, find_problem
from pipeline.store.seals import JSON, seal_json

__all__ = ["AGAIN", "Commit", "part_name", "read_commit", "write_commit"]

AGAIN = "run the same `maxact index` again, which indexes only the shards of this part again"
"""What to do about a damaged part."""

_FORMAT = 2
"""Of commit files; 1 had no digest of its own."""


@dataclass(frozen=True, slots=True)
class Commit:
    """A part on disk, as its commit file describes it.

    Args:
        path: of the commit file.
        fingerprint: of the run.
        shards: as they were read, sorted by name.
        tables: SHA-256 of each table, and of the file of peaks, if there is one.
        units: of all layers together.
        k: images kept per unit and side.
        sealed: whether the commit file carries its own digest.
    """

    path: Path
    fingerprint: str
    shards: tuple[ShardRecord, ...]
    tables: dict[str, str]
    units: int
    k: int
    sealed: bool = True

    @property
    def folder(self) -> Path:
        """The folder of its tables."""
        return self.path.with_suffix("")

    @property
    def files(self) -> dict[Path, str]:
        """The files of its tables, and of its peaks, with the SHA-256 of each."""
        names = {table: PEAKS_FILE if table == PEAKS else f"{table}.parquet" for table in self.tables}
        return {self.folder / names[table]: digest for table, digest in self.tables.items()}

    def verify(self) -> None:
        """Compare every table with the SHA-256 recorded in the commit file.

        Raises:
            DamagedFile: when one is missing or differs.
            StoreError: when one cannot be read, which may pass.
        """
        for path, what in self.find_damage(refuse_unreadable=True):
            raise DamagedFile(f"{path} {what}; {AGAIN}")

    def find_damage(self, *, refuse_unreadable: bool = False) -> Iterator[tuple[Path, str]]:
        """The files of the part that are not as they were committed, and what is wrong with each.

        Args:
            refuse_unreadable: do not count a file that cannot be read as damaged.

        Raises:
            StoreError: for the first one that cannot be read, if that is so.
        """
        intact = True
        for path, expected in self.files.items():
            try:
                found = sha256_file(path) if path.is_file() else ""
            except OSError as error:
                if refuse_unreadable:
                    raise _unreadable(path, error) from error
                found = ""
            if found != expected:
                intact = False
                yield path, "is missing or was changed after it was committed"
        if intact and not self.sealed and not _counts_agree(self):
            yield self.path, "has other counts of images than the tables of its part"

    def load(self, *, records: bool = True) -> Part:
        """Read the part back; `records=False` leaves its images and errors empty.

        Raises:
            StoreError: when a table cannot be read.
        """
        return read_part(self.folder, self.shards, self.units, self.k, records=records)


def part_name(fingerprint: str, shards: Iterable[ShardRecord]) -> str:
    """A name derived from the fingerprint and the names and sizes of the shards."""
    text = json.dumps([fingerprint, sorted((shard.name, shard.size) for shard in shards)])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def read_commit(path: Path) -> Commit:
    """Read a commit file and compare it with its own digest and its name.

    Raises:
        DamagedFile: when it is not as it was written.
        StoreError: when it cannot be read, which may pass, or a later version wrote it.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from error
    try:
        content = json.loads(data)
        problem = find_problem(COMMIT, content)
        intact = JSON.is_intact(data)
        if intact is False or (intact is None and (problem or "format" in content)):
            raise ValueError(problem or "its SHA-256 differs")
        if content.get("format", 1) > _FORMAT:
            raise StoreError(
                f"{path} has format {content['format']}, this maxact reads up to {_FORMAT}; use the "
                "maxact that wrote it"
            )
        if problem:
            raise ValueError(problem)
        shards = tuple(ShardRecord(**shard) for shard in content["shards"])
    except (ValueError, TypeError, RecursionError) as error:
        raise DamagedFile(f"{path} is not a commit file, or was changed ({error}); {AGAIN}") from error
    fingerprint, tables, units, k = (content[name] for name in ("fingerprint", "tables", "units", "k"))
    if path.stem != part_name(fingerprint, shards):
        raise DamagedFile(f"{path} is not the commit file of the shards that it lists; {AGAIN}")
    return Commit(path, fingerprint, shards, dict(tables), units, k, sealed=bool(intact))


def _unreadable(path: Path, error: OSError) -> UnreadableFile:
    return UnreadableFile(
        f"{path} cannot be read: {error.strerror or error}; run the same command again when the disk answers"
    )


def write_commit(commit: Commit) -> None:
    """Write the commit file of a part whose tables are written.

    Raises:
        StoreError: when it cannot be written.
    """
    content = asdict(commit)
    del content["path"], content["sealed"]
    with atomic_path(commit.path) as temporary:
        temporary.write_text(seal_json({"format": _FORMAT, **content}), encoding="utf-8")


def _counts_agree(commit: Commit) -> bool:
    """Whether each shard has as many rows of images and errors as the commit file says."""
    ids = store.read_table(commit.folder / "images.parquet", columns=["image_id"])["image_id"].to_numpy()
    images = np.bincount(ids >> POSITION_BITS, minlength=len(commit.shards)).tolist()
    names = store.read_table(commit.folder / "errors.parquet", columns=["shard"])["shard"].to_pylist()
    counts = Counter(names)
    return images == [shard.images for shard in commit.shards] and counts == Counter(
        {shard.name: shard.errors for shard in commit.shards if shard.errors}
    )
