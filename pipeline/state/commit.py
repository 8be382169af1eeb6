"""Parts on disk: the result of a group of shards, committed once and never changed.

    parts/NAME/            state.parquet, histogram.parquet, labels.parquet, sample.parquet,
                           images.parquet, errors.parquet; with `--keep peaks` peaks.npy
    parts/NAME.json        the commit file, written last: shards with sizes and counts, the SHA-256
                           of every table, the fingerprint, and its own SHA-256

A part without its commit file does not exist. NAME is derived from the fingerprint and the names
and sizes of the shards, so the same work has the same name on every machine. Inside a part,
image_id counts the part's own shards from 0; they get the dataset's ordinals when parts meet.

Two processes may commit the same part at once, as when a cluster takes one for lost: each writes into a
folder of its own (`pipeline.state.part_folder`), and the part that is there first stays.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from pipeline.errors import DamagedFile, FingerprintMismatch, StoreError
from pipeline.state.commit_file import Commit, part_name, read_commit, write_commit
from pipeline.state.part import Part
from pipeline.state.part_folder import clear_abandoned, place_folder, temporary_folder
from pipeline.state.part_tables import tables_of
from pipeline.store import tables as store
from pipeline.store.files import sync_file, sync_folder
from pipeline.store.peak_files import PEAKS, PEAKS_FILE
from pipeline.working_copies import withdraw

__all__ = [
    "Commit",
    "choose_disjoint",
    "commit_part",
    "copy_part",
    "list_commits",
    "move_part",
    "remove_part",
]


def commit_part(parts: Path, part: Part, fingerprint: str) -> Commit:
    """Write a part and commit it; interrupted at any moment, the part is complete or does not exist.

    Args:
        parts: the folder of all parts.
        part: what to write.
        fingerprint: of the run.

    Raises:
        StoreError: when it cannot be written.
    """
    name = part_name(fingerprint, part.shards)
    with temporary_folder(parts, name) as temporary:
        tables = {
            table: store.write_table(
                temporary / f"{table}.parquet",
                content.schema,
                content.batches,
                row_group_rows=content.row_group_rows,
            ).sha256
            for table, content in sorted(tables_of(part).items())
        }
        if part.peaks is not None:
            tables[PEAKS] = part.peaks.write(temporary / PEAKS_FILE)
        commit = Commit(
            parts / f"{name}.json",
            fingerprint,
            part.shards,
            tables,
            *part.state.high.score.shape,
        )
        return _settle(temporary, commit)


def copy_part(commit: Commit, parts: Path) -> Commit:
    """Copy a committed part into another folder; it is copied completely or not at all.

    Raises:
        StoreError: when it cannot be read or written.
    """
    copy = replace(commit, path=parts / commit.path.name, sealed=True)
    with temporary_folder(parts, commit.folder.name) as temporary:
        for source in commit.files:
            path = temporary / source.name
            shutil.copyfile(source, path)
            sync_file(path)
        return _settle(temporary, copy)


def move_part(commit: Commit, parts: Path) -> Commit:
    """Move a committed part into another folder of the same disk, in place of one of the same name.

    Raises:
        StoreError: when it cannot be moved.
    """
    moved = replace(commit, path=parts / commit.path.name)
    try:
        parts.mkdir(parents=True, exist_ok=True)
        remove_part(moved.path)
        os.replace(commit.folder, moved.folder)
        sync_folder(parts)
    except OSError as error:
        raise StoreError(f"cannot write {moved.folder}: {error.strerror or error}") from error
    write_commit(moved)
    with contextlib.suppress(OSError):  # without its folder it is no part
        commit.path.unlink()
    return moved


def remove_part(path: Path) -> None:
    """Remove a commit file, and then the folder of its part.

    Raises:
        StoreError: when it cannot be removed.
    """
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(f"cannot remove {path}: {error.strerror or error}") from error
    shutil.rmtree(path.with_suffix(""), ignore_errors=True)
    withdraw(path)
    withdraw(path.with_suffix(""))


def _settle(temporary: Path, commit: Commit) -> Commit:
    """Give a finished folder its final name and commit it; a part that is committed already stays.

    Raises:
        StoreError: when something was removed from the folder while it was written.
    """
    if (there := _intact(commit.path)) is not None:
        return there
    commit.path.unlink(missing_ok=True)  # of a damaged part
    place_folder(temporary, commit.folder, commit.files)
    for path in commit.files:
        if not path.is_file():
            raise StoreError(f"{path} was removed while its part was written; run the same command again")
    write_commit(commit)
    return commit


def _intact(path: Path) -> Commit | None:
    """The part that a commit file describes, if it is there and as it was written."""
    try:
        commit = read_commit(path)
        commit.verify()
    except StoreError:
        return None
    return commit


def list_commits(
    parts: Path,
    *,
    fingerprint: str | None = None,
    clear: bool = True,
    damaged: Callable[[Path, DamagedFile], None] | None = None,
) -> tuple[Commit, ...]:
    """The committed parts of a folder, by the name of their first shard.

    Args:
        parts: the folder of all parts.
        fingerprint: that all of them must have.
        clear: remove what interrupted commits have left.
        damaged: called with each commit file that is damaged, instead of raising.

    Raises:
        DamagedFile: when a commit file cannot be read or is not as it was written.
        FingerprintMismatch: when a part belongs to another run.
    """
    if clear:
        clear_abandoned(parts)
    commits = []
    for path in sorted(parts.glob("*.json")):
        try:
            commit = read_commit(path)
        except DamagedFile as error:
            if damaged is None:
                raise
            damaged(path, error)
            continue
        if fingerprint is not None and commit.fingerprint != fingerprint:
            raise FingerprintMismatch(
                f"{path} is a part of another run (fingerprint {commit.fingerprint[:12]}, expected "
                f"{fingerprint[:12]}); move it and the folder {path.stem} out of {parts}"
            )
        commits.append(commit)
    return tuple(sorted(commits, key=lambda commit: [shard.name for shard in commit.shards]))


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
