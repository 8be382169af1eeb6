"""Commits: written once, copied, moved, removed and listed; and what a commit file may say."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipeline.errors import DamagedFile, FingerprintMismatch, StoreError, UnreadableFile
from pipeline.state import commit as commits
from pipeline.state import commit_file, part_folder
from pipeline.state.commit import Commit, commit_part, copy_part, list_commits, move_part, remove_part
from pipeline.state.commit_file import part_name, read_commit, write_commit
from pipeline.state.part import Part, ShardRecord
from pipeline.store.files import sha256_file
from pipeline.store.peak_files import PeakFile, PeakSpill
from pipeline.store.schemas import ERRORS
from pipeline.store.seals import seal_json
from tests.pipeline.state.test_part import UNITS, assert_same, make_part

RUN = "f" * 64
OTHER_RUN = "e" * 64


@pytest.fixture(scope="module")
def part() -> Part:
    return make_part({"shard-0": 5, "shard-1": 3})


@pytest.fixture
def commit(tmp_path: Path, part: Part) -> Commit:
    return commit_part(tmp_path / "parts", part, RUN)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_name_never_changes() -> None:
    """Another one would make `index` do the work of every earlier part again."""
    shards = (ShardRecord("b", 2, 1, 0), ShardRecord("a", 1, 1, 0))
    assert part_name(RUN, shards) == part_name(RUN, shards[::-1]) == "a59a27e614cac2b1"
    assert part_name(OTHER_RUN, shards) != part_name(RUN, shards)


def test_a_part_that_is_there_stays(tmp_path: Path, part: Part, commit: Commit) -> None:
    before = {path: path.stat().st_ino for path in (commit.path, *commit.files)}
    assert commit_part(tmp_path / "parts", part, RUN) == commit
    assert {path: path.stat().st_ino for path in before} == before


@pytest.mark.parametrize("damage", ["table", "commit file"])
def test_a_damaged_part_is_replaced(tmp_path: Path, part: Part, commit: Commit, damage: str) -> None:
    if damage == "table":
        (commit.folder / "images.parquet").write_bytes(b"damaged")
    else:
        commit.path.write_text("{}")
    again = commit_part(tmp_path / "parts", part, RUN)
    again.verify()
    assert again == commit
    assert names_in(tmp_path / "parts") == [commit.folder.name, commit.path.name]


def test_a_damaged_commit_file_is_gone_before_its_folder_changes(
    tmp_path: Path, part: Part, commit: Commit, monkeypatch: pytest.MonkeyPatch
) -> None:
    (commit.folder / "images.parquet").write_bytes(b"damaged")

    def interrupted(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(commits, "place_folder", interrupted)
    with pytest.raises(KeyboardInterrupt):
        commit_part(tmp_path / "parts", part, RUN)
    assert not commit.path.exists()


def test_a_table_that_is_removed_meanwhile_is_noticed(
    tmp_path: Path, part: Part, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = commits.place_folder

    def remove(temporary: Path, folder: Path, files: dict[Path, str]) -> None:
        place(temporary, folder, files)
        (folder / "images.parquet").unlink()

    monkeypatch.setattr(commits, "place_folder", remove)
    with pytest.raises(StoreError, match=r"images\.parquet was removed while its part was written"):
        commit_part(tmp_path, part, RUN)
    assert list_commits(tmp_path) == ()


def test_a_copy_is_the_same_part_elsewhere(
    tmp_path: Path, part: Part, commit: Commit, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[str] = []
    monkeypatch.setattr(commits, "sync_file", lambda path: flushed.append(path.name))
    copy = copy_part(replace(commit, sealed=False), tmp_path / "copies" / "parts")
    assert copy == replace(commit, path=tmp_path / "copies" / "parts" / commit.path.name)
    copy.verify()
    assert_same(copy.load(), part)
    assert sorted(flushed) == sorted(path.name for path in commit.files)
    assert commit.folder.exists()
    assert names_in(tmp_path / "copies" / "parts") == [commit.folder.name, commit.path.name]


def test_a_copy_of_what_is_gone_is_refused(tmp_path: Path, commit: Commit) -> None:
    (commit.folder / "images.parquet").unlink()
    with pytest.raises(StoreError, match=r"cannot write .*No such file"):
        copy_part(commit, tmp_path / "copies")
    assert names_in(tmp_path / "copies") == []


def test_a_part_is_moved_in_place_of_one_of_its_name(
    tmp_path: Path, commit: Commit, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "elsewhere" / "parts"
    (target / commit.folder.name).mkdir(parents=True)
    (target / commit.folder.name / "older.parquet").touch()
    (target / commit.path.name).write_text("{}")
    flushed: list[Path] = []
    monkeypatch.setattr(commits, "sync_folder", flushed.append)
    moved = move_part(commit, target)
    assert moved == replace(commit, path=target / commit.path.name)
    moved.verify()
    assert list_commits(target) == (moved,)
    assert flushed == [target]
    assert names_in(commit.path.parent) == []


def test_a_part_is_moved_into_a_new_folder(tmp_path: Path, commit: Commit) -> None:
    move_part(commit, tmp_path / "new" / "parts").verify()


def test_a_part_that_cannot_be_moved_stays(tmp_path: Path, commit: Commit) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"cannot write .*: Not a directory"):
        move_part(commit, tmp_path / "file" / "parts")
    commit.verify()


def test_a_commit_file_that_somebody_removed_does_not_stop_a_move(
    tmp_path: Path, commit: Commit, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(moved: Commit) -> None:
        write_commit(moved)
        commit.path.unlink()

    monkeypatch.setattr(commits, "write_commit", write)
    move_part(commit, tmp_path / "new").verify()


def test_a_removed_part_is_withdrawn_from_an_address(commit: Commit, monkeypatch: pytest.MonkeyPatch) -> None:
    withdrawn: list[Path] = []
    monkeypatch.setattr(commits, "withdraw", withdrawn.append)
    remove_part(commit.path)
    remove_part(commit.path)  # nothing is there any more
    assert names_in(commit.path.parent) == []
    assert withdrawn == [commit.path, commit.folder] * 2


def test_a_commit_file_that_cannot_be_removed_keeps_its_tables(tmp_path: Path) -> None:
    path = tmp_path / "part.json"
    path.mkdir()
    (tmp_path / "part").mkdir()
    with pytest.raises(StoreError, match=r"cannot remove .*part\.json"):
        remove_part(path)
    assert (tmp_path / "part").exists()


def test_parts_are_listed_by_their_first_shard(tmp_path: Path) -> None:
    names = [f"shard-{number}" for number in (3, 0, 2, 1)]
    for name in names:
        commit_part(tmp_path, make_part({name: 2}), RUN)
    assert [commit.shards[0].name for commit in list_commits(tmp_path)] == sorted(names)


def test_a_part_of_another_run_is_refused_where_one_run_is_asked(tmp_path: Path, commit: Commit) -> None:
    parts = tmp_path / "parts"
    assert list_commits(parts, fingerprint=RUN) == list_commits(parts) == (commit,)
    with pytest.raises(
        FingerprintMismatch, match=r"is a part of another run \(fingerprint ffffffffffff, exp"
    ):
        list_commits(parts, fingerprint=OTHER_RUN)


def test_what_interrupted_commits_left_is_cleared_unless_asked_not_to(tmp_path: Path, commit: Commit) -> None:
    left = tmp_path / "parts" / ".left.tmp"
    left.mkdir()
    list_commits(tmp_path / "parts", clear=False)
    assert left.exists()
    list_commits(tmp_path / "parts")
    assert not left.exists()


def test_damaged_commit_files_are_told_and_the_others_listed(tmp_path: Path, commit: Commit) -> None:
    damaged = tmp_path / "parts" / "0.json"
    damaged.write_text("{}")
    told: list[tuple[Path, str]] = []
    found = list_commits(tmp_path / "parts", damaged=lambda path, error: told.append((path, str(error))))
    assert found == (commit,)
    assert told == [
        (
            damaged,
            f"{damaged} is not a commit file, or was changed (the content has no fingerprint); "
            f"{commit_file.AGAIN}",
        )
    ]
    with pytest.raises(DamagedFile):
        list_commits(tmp_path / "parts")


# Commit files


def rewrite(commit: Commit, change: Callable[[dict[str, Any]], object], *, sealed: bool = True) -> Path:
    """Change what a commit file says, and seal it again."""
    content = json.loads(commit.path.read_text())
    del content["sha256"]
    change(content)
    commit.path.write_text(seal_json(content) if sealed else json.dumps(content))
    return commit.path


def first_format(commit: Commit) -> Path:
    """As earlier versions wrote commit files: without a digest."""
    return rewrite(commit, lambda content: content.pop("format"), sealed=False)


def test_a_commit_file_says_its_format(commit: Commit) -> None:
    assert json.loads(commit.path.read_text())["format"] == 2


def test_a_later_format_is_not_damage(commit: Commit) -> None:
    rewrite(commit, lambda content: content.update(format=3, shards="described otherwise"))
    with pytest.raises(StoreError, match="has format 3, this maxact reads up to 2; use the maxact") as raised:
        read_commit(commit.path)
    assert not isinstance(raised.value, DamagedFile)


def test_a_sealed_commit_file_must_say_what_is_needed(commit: Commit) -> None:
    rewrite(commit, lambda content: content.update(k=0))
    with pytest.raises(DamagedFile, match=r"or was changed \(k must be a whole number in 1\.\.1024, got 0\)"):
        read_commit(commit.path)


def test_a_changed_commit_file_is_damaged(commit: Commit) -> None:
    commit.path.write_text(commit.path.read_text().replace('"k": 3', '"k": 4'))
    with pytest.raises(DamagedFile, match="its SHA-256 differs"):
        read_commit(commit.path)


def test_a_commit_file_that_lost_its_digest_is_damaged(commit: Commit) -> None:
    """Otherwise damage to the name of that field would switch off the comparison."""
    rewrite(commit, lambda content: None, sealed=False)
    with pytest.raises(DamagedFile, match="its SHA-256 differs"):
        read_commit(commit.path)


def test_another_name_or_other_shards_are_noticed(commit: Commit) -> None:
    other = commit.path.with_name("0123456789abcdef.json")
    commit.path.rename(other)
    with pytest.raises(DamagedFile, match="is not the commit file of the shards that it lists"):
        read_commit(other)


def test_a_commit_file_that_cannot_be_read_is_not_damaged(tmp_path: Path) -> None:
    (tmp_path / "part.json").mkdir()
    with pytest.raises(UnreadableFile, match="cannot be read: Is a directory; run the same command again"):
        read_commit(tmp_path / "part.json")


def test_a_commit_file_of_the_first_format_is_read(commit: Commit) -> None:
    found = read_commit(first_format(commit))
    assert found == replace(commit, sealed=False)
    found.verify()


def test_a_wrong_commit_file_of_the_first_format_is_damaged(commit: Commit) -> None:
    first_format(commit)
    content = json.loads(commit.path.read_text())
    commit.path.write_text(json.dumps({**content, "k": "three"}))
    with pytest.raises(DamagedFile, match="k must be a whole number"):
        read_commit(commit.path)


@pytest.mark.parametrize("field", ["images", "errors"])
def test_counts_of_the_first_format_are_compared_with_the_tables(
    tmp_path: Path, part: Part, field: str
) -> None:
    errors = pa.table([["shard-1"] * 2, ["k", "l"], ["truncated"] * 2, ["ends early"] * 2], ERRORS)
    shards = (part.shards[0], replace(part.shards[1], errors=2))
    commit = commit_part(tmp_path, replace(part, shards=shards, errors=errors), RUN)
    assert list(read_commit(first_format(commit)).find_damage()) == []
    content = json.loads(commit.path.read_text())
    content["shards"][1][field] += 1
    commit.path.write_text(json.dumps(content))
    found = list(read_commit(commit.path).find_damage())
    assert found == [(commit.path, "has other counts of images than the tables of its part")]


def test_a_shard_without_images_is_counted(tmp_path: Path, part: Part) -> None:
    """The last shard of a part may have none, so that no image_id has its ordinal."""
    shards = (*part.shards, ShardRecord("shard-2", 10, 0, 0))
    commit = commit_part(tmp_path, replace(part, shards=shards), RUN)
    read_commit(first_format(commit)).verify()


def test_every_damaged_file_is_named_and_counts_only_where_they_can_be(commit: Commit) -> None:
    first_format(commit)
    (commit.folder / "errors.parquet").unlink()
    (commit.folder / "images.parquet").write_bytes(b"damaged")
    found = list(read_commit(commit.path).find_damage())
    assert sorted(path.name for path, _ in found) == ["errors.parquet", "images.parquet"]
    assert {what for _, what in found} == {"is missing or was changed after it was committed"}


def test_a_file_that_cannot_be_read_is_damage_only_where_it_is_looked_for(
    commit: Commit, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = commit_file.sha256_file

    def fails(path: Path) -> str:
        if path.name == "state.parquet":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return digest(path)

    monkeypatch.setattr(commit_file, "sha256_file", fails)
    assert [path.name for path, _ in commit.find_damage()] == ["state.parquet"]
    with pytest.raises(UnreadableFile, match=r"state\.parquet cannot be read: Input/output error"):
        commit.verify()


def test_kept_peaks_are_a_file_of_their_own(commit: Commit) -> None:
    with_peaks = replace(commit, tables={**commit.tables, "peaks": "0" * 64})
    assert with_peaks.files[commit.folder / "peaks.npy"] == "0" * 64
    assert set(with_peaks.files) - set(commit.files) == {commit.folder / "peaks.npy"}


def test_peaks_are_committed_with_their_part(tmp_path: Path, part: Part) -> None:
    peaks = np.arange(8 * UNITS, dtype=np.float32).reshape(8, UNITS)
    with PeakSpill(tmp_path, UNITS, "float32") as spill:
        spill.add(peaks)
        commit = commit_part(tmp_path / "parts", replace(part, peaks=spill), RUN)
    commit.verify()
    assert sha256_file(commit.folder / "peaks.npy") == commit.tables["peaks"]
    np.testing.assert_array_equal(
        PeakFile.open(commit.folder / "peaks.npy", 8, UNITS, "float32").read_images(np.arange(8)), peaks
    )


def test_records_are_left_out_only_when_asked(commit: Commit, part: Part) -> None:
    assert commit.load().images.num_rows == part.images.num_rows
    assert commit.load(records=False).images.num_rows == 0


def test_folders_of_writers_that_fail_are_removed(
    tmp_path: Path, part: Part, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(temporary: Path, folder: Path) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(part_folder.os, "replace", fails)
    with pytest.raises(StoreError, match="Input/output error"):
        commit_part(tmp_path, part, RUN)
    assert names_in(tmp_path) == []
