from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.errors import StoreError
from pipeline.store import files
from pipeline.store.files import atomic_path, make_folder, remove_file, sync_folder


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_failure_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a"
    path.write_text("old")
    monkeypatch.setattr(files, "sync_file", fails)
    with (
        pytest.raises(StoreError, match=r"cannot write .*: Input/output error"),
        atomic_path(path) as temporary,
    ):
        temporary.write_text("new")
    assert names(tmp_path) == ["a"]
    assert path.read_text() == "old"


def test_the_error_is_reported_although_nothing_can_be_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "sync_file", fails)
    monkeypatch.setattr(Path, "unlink", fails)
    with pytest.raises(StoreError, match=r"cannot write .*: Input/output error"), atomic_path(tmp_path / "a"):
        pass


def test_a_file_appears_when_it_is_complete_and_flushed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, order = tmp_path / "a", []

    def flushed(kind: str) -> Callable[[Path], None]:
        return lambda place: order.append((kind, place.name, path.exists()))

    for kind in ("file", "folder"):
        monkeypatch.setattr(files, f"sync_{kind}", flushed(kind))
    with atomic_path(path) as temporary, atomic_path(path) as other:
        assert temporary.parent == tmp_path
        assert re.fullmatch(r"\.a\.\d+\.tmp", temporary.name)
        assert temporary != other
        temporary.write_text("new")
        other.write_text("other")
    # Its content is on the disk before it has its name, and the name before anybody is told.
    assert order == [
        ("file", other.name, False),
        ("folder", tmp_path.name, True),
        ("file", temporary.name, True),
        ("folder", tmp_path.name, True),
    ]
    assert path.read_text() == "new"
    assert names(tmp_path) == ["a"]


def test_file_and_folder_are_flushed_to_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: flushed.append(os.fstat(descriptor).st_ino))
    with atomic_path(tmp_path / "a") as temporary:
        temporary.write_text("new")
    assert flushed == [(tmp_path / "a").stat().st_ino, tmp_path.stat().st_ino]


def test_what_cannot_be_created_or_removed_is_one_line(tmp_path: Path) -> None:
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"cannot create .*: Not a directory; free some space"):
        make_folder(tmp_path / "file" / "b")
    with pytest.raises(StoreError, match=r"cannot remove .*: Is a directory; fix the permissions"):
        remove_file(tmp_path / "a")
    remove_file(tmp_path / "file")
    remove_file(tmp_path / "file")
    assert names(tmp_path) == ["a"]


def test_a_folder_that_is_flushed_is_closed_again(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    sync_folder(tmp_path)
    assert len(os.listdir("/proc/self/fd")) == before


def fails(*arguments: object, **options: object) -> None:
    raise OSError(errno.EIO, os.strerror(errno.EIO))
