"""The files of an atlas: which index they belong to, and what is removed."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

import pytest

from pipeline.errors import StoreError
from pipeline.store.atlas_record import atlas_files, read_record, remove_atlas
from viz.atlas.files import LOCK, AtlasFiles

ONE, OTHER = "1" * 64, "2" * 64


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """An OUT with an atlas of two files, beside a file of the user."""
    with AtlasFiles(tmp_path, ONE) as files:
        files.write_text("index.html", "front")
        files.write_text("unit/0/1.html", "unit")
        files.finish()
    (tmp_path / "atlas/unit/notes.txt").write_text("mine")
    return tmp_path


def names(out: Path) -> list[str]:
    return sorted(p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file())


def test_the_first_line_names_the_index(out: Path) -> None:
    assert (out / "atlas/.files").read_text().splitlines()[0] == f"maxact.fingerprint {ONE}"
    record = read_record(out / "atlas")
    assert record is not None
    assert record.fingerprint == ONE
    assert {name: size for name, (_, size) in record.files.items()} == {"index.html": 5, "unit/0/1.html": 4}


def test_an_interrupted_build_is_recorded_with_its_index(tmp_path: Path) -> None:
    with AtlasFiles(tmp_path, ONE) as files:
        files.write_text("index.html", "front")
    record = read_record(tmp_path / "atlas")
    assert record is not None
    assert (record.fingerprint, list(record.files)) == (ONE, ["index.html"])


def test_the_atlas_of_the_same_index_stays(out: Path) -> None:
    before = names(out)
    assert remove_atlas(out, keep=ONE) == 0
    assert names(out) == before


def test_of_the_atlas_of_another_index_only_its_own_files_go(out: Path) -> None:
    assert remove_atlas(out, keep=OTHER) == 2
    assert names(out / "atlas") == ["unit/notes.txt"]
    assert not (out / "atlas/unit/0").exists()


def test_nothing_is_left_of_an_atlas_without_other_files(out: Path) -> None:
    (out / "atlas/unit/notes.txt").unlink()
    remove_atlas(out, keep=OTHER)
    assert not (out / "atlas").exists()


def test_a_build_for_another_index_begins_anew(out: Path) -> None:
    with AtlasFiles(out, OTHER) as files:
        files.write_text("sql.html", "sql")
        files.finish()
    assert names(out / "atlas") == [".files", "sql.html", "unit/notes.txt"]
    record = read_record(out / "atlas")
    assert record is not None
    assert record.fingerprint == OTHER


def test_a_record_without_a_fingerprint_belongs_to_the_index_that_is_said(out: Path) -> None:
    record = out / "atlas/.files"
    record.write_text("".join(record.read_text().splitlines(keepends=True)[1:]))
    assert remove_atlas(out, keep=ONE, unmarked=ONE) == 0
    assert remove_atlas(out, keep=ONE) == 2


@pytest.mark.parametrize(
    "name", ["../victim.txt", "/tmp/victim.txt", "a/../../victim.txt", "link/victim.txt"]
)
def test_a_record_removes_nothing_outside(out: Path, tmp_path: Path, name: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    victims = [out / "victim.txt", elsewhere / "victim.txt"]
    for victim in victims:
        victim.write_text("here")
    (out / "atlas/link").symlink_to(elsewhere)
    inner = out / "inner"
    inner.mkdir()
    (out / "atlas").rename(inner / "atlas")
    with (inner / "atlas/.files").open("a") as record:
        record.write(f"{'0' * 32} 4 {name}\n")
    assert remove_atlas(inner, keep=OTHER) == 2
    assert all(victim.read_text() == "here" for victim in victims)


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out/atlas").mkdir(parents=True)
    (tmp_path / "out/atlas/unit").symlink_to(tmp_path / "elsewhere")
    with (
        AtlasFiles(tmp_path / "out", ONE) as files,
        pytest.raises(StoreError, match="leads out of the index"),
    ):
        files.write_text("unit/0.html", "unit")
    assert not any((tmp_path / "elsewhere").iterdir())


def test_two_builds_at_once_are_refused(out: Path) -> None:
    with (
        AtlasFiles(out, ONE),
        pytest.raises(StoreError, match="another process is building"),
        AtlasFiles(out, ONE),
    ):
        pass
    with AtlasFiles(out, ONE) as files:
        assert files.folder == out / "atlas"


def test_the_files_of_an_atlas_are_known(out: Path) -> None:
    assert {p.relative_to(out).as_posix() for p in atlas_files(out)} == {
        "atlas/.files",
        "atlas/index.html",
        "atlas/unit/0/1.html",
    }
    assert atlas_files(out / "atlas") == set()


def test_a_record_that_cannot_be_read_is_named(out: Path) -> None:
    (out / "atlas/.files").unlink()
    (out / "atlas/.files").mkdir()
    with pytest.raises(StoreError, match=r"atlas/\.files cannot be read: Is a directory"):
        read_record(out / "atlas")
    with pytest.raises(StoreError, match=r"atlas/\.files cannot be read"), AtlasFiles(out, ONE):
        pass
    (out / "atlas/.files").rmdir()
    with AtlasFiles(out, ONE):  # the lock was given back
        pass


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, out: Path) -> None:
    (tmp_path / "other" / LOCK).mkdir(parents=True)
    with pytest.raises(StoreError, match=r"cannot write into .*other/atlas: Is a directory"):
        AtlasFiles(tmp_path / "other", ONE).__enter__()
    with AtlasFiles(out, ONE) as files:
        (out / "atlas/pages").write_text("a file where a folder is needed")
        with pytest.raises(StoreError, match=r"cannot write .*pages/1\.html: "):
            files.write_text("pages/1.html", "page")
        (out / "atlas/search").mkdir()
        with pytest.raises(StoreError, match=r"cannot write .*atlas/search: Is a directory"):
            files.write_text("search", "page")
    assert list((out / "atlas").rglob("*.tmp")) == []


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.EAGAIN, "another process is building .*; wait for it to end"),
        (errno.ENOLCK, "cannot lock .*: No locks available; use a folder on a file system with locks"),
    ],
)
def test_a_lock_that_is_not_given_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, said: str
) -> None:
    def refuse(lock: int, how: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(StoreError, match=said):
        AtlasFiles(tmp_path, ONE).__enter__()


def test_a_file_of_the_record_that_is_gone_is_written_again(out: Path) -> None:
    (out / "atlas/index.html").unlink()
    with AtlasFiles(out, ONE) as files:
        assert not files.has("index.html", "front")
        files.write_text("index.html", "front")
        files.write_text("unit/0/1.html", "unit")
        files.finish()
    assert (out / "atlas/index.html").read_text() == "front"
