"""Folders of parts while they are written: their final names, other writers, and what is left of them."""

from __future__ import annotations

import errno
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipeline.errors import StoreError
from pipeline.state import part_folder
from pipeline.state.part_folder import ABANDONED_S, clear_abandoned, place_folder, temporary_folder
from pipeline.store.files import sha256_file

HERE = platform.node() or "host"


@contextmanager
def written(parts: Path, content: str, name: str = "part") -> Iterator[tuple[Path, dict[Path, str]]]:
    """A temporary folder with one file, and the digest of that file under its final path."""
    with temporary_folder(parts, name) as temporary:
        (temporary / "state.parquet").write_text(content)
        yield temporary, {parts / name / "state.parquet": sha256_file(temporary / "state.parquet")}


def place(parts: Path, content: str) -> None:
    with written(parts, content) as (temporary, files):
        place_folder(temporary, parts / "part", files)


def test_a_folder_gets_its_final_name(tmp_path: Path) -> None:
    parts = tmp_path / "out" / "parts"
    place(parts, "one")
    assert [path.name for path in parts.iterdir()] == ["part"]
    assert (parts / "part" / "state.parquet").read_text() == "one"


def test_a_folder_that_gets_no_name_is_removed(tmp_path: Path) -> None:
    with written(tmp_path, "one") as (temporary, _):
        assert temporary.parent == tmp_path
        assert temporary.name.startswith(f".part.{HERE}-{os.getpid()}-")
    assert list(tmp_path.iterdir()) == []


def test_an_error_of_the_disk_is_described(tmp_path: Path) -> None:
    with (
        pytest.raises(
            StoreError, match=r"cannot write .*part: No space left on device; parts committed earlier"
        ),
        written(tmp_path, "one"),
    ):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.raises(StoreError, match=r"part: the tape ended; parts"), written(tmp_path, "one"):
        raise OSError("the tape ended")
    assert list(tmp_path.iterdir()) == []


def test_a_parts_folder_that_cannot_be_made_is_described(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(StoreError, match="Not a directory"),
        temporary_folder(tmp_path / "file" / "parts", "p"),
    ):
        pass


def test_both_folders_are_flushed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[str] = []
    monkeypatch.setattr(part_folder, "sync_folder", lambda folder: flushed.append(folder.name))
    place(tmp_path, "one")
    first, last = flushed
    assert first.endswith(".tmp")
    assert last == tmp_path.name


def test_of_two_writers_of_the_same_bytes_the_first_stays(tmp_path: Path) -> None:
    place(tmp_path, "one")
    before = (tmp_path / "part" / "state.parquet").stat().st_ino
    place(tmp_path, "one")
    assert (tmp_path / "part" / "state.parquet").stat().st_ino == before
    assert [path.name for path in tmp_path.iterdir()] == ["part"]


@pytest.mark.parametrize("found", ["other", None])
def test_a_folder_with_other_files_is_replaced(tmp_path: Path, found: str | None) -> None:
    """Such a folder is what a process left that ended before its commit file was written."""
    place(tmp_path, "two")
    if found is None:
        (tmp_path / "part" / "state.parquet").rename(tmp_path / "part" / "labels.parquet")
    place(tmp_path, "one")
    assert [path.name for path in (tmp_path / "part").iterdir()] == ["state.parquet"]
    assert (tmp_path / "part" / "state.parquet").read_text() == "one"
    assert [path.name for path in tmp_path.iterdir()] == ["part"]


def test_one_right_file_of_two_is_not_enough(tmp_path: Path) -> None:
    place(tmp_path, "one")
    with written(tmp_path, "one") as (temporary, files):
        (temporary / "labels.parquet").write_text("labels")
        files[tmp_path / "part" / "labels.parquet"] = sha256_file(temporary / "labels.parquet")
        place_folder(temporary, tmp_path / "part", files)
    assert (tmp_path / "part" / "labels.parquet").read_text() == "labels"


def test_a_folder_that_others_keep_writing_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "part").mkdir()
    (tmp_path / "part" / "state.parquet").write_text("other")
    tries = 0

    def refuse(source: Path, target: Path) -> None:
        nonlocal tries
        if source.name == "part":
            raise FileNotFoundError(errno.ENOENT, "another writer was faster")
        tries += 1
        raise OSError(errno.EEXIST if tries % 2 else errno.ENOTEMPTY, "the name is taken")

    monkeypatch.setattr(part_folder.os, "replace", refuse)
    with pytest.raises(StoreError, match="the name is taken"):
        place(tmp_path, "one")
    assert tries == part_folder._TRIES


def test_what_is_no_other_writer_is_not_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[Path] = []

    def refuse(source: Path, target: Path) -> None:
        tries.append(source)
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(part_folder.os, "replace", refuse)
    with pytest.raises(StoreError, match="Permission denied"):
        place(tmp_path, "one")
    assert len(tries) == 1


def test_another_writer_that_cleans_up_first_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two writers find the same folder of an ended process, and both move it aside."""
    place(tmp_path, "two")
    replace = os.replace

    def race(source: Path, target: Path) -> None:
        if source.name == "part":
            replace(source, tmp_path / "moved by the other")
        replace(source, target)

    monkeypatch.setattr(part_folder.os, "replace", race)
    place(tmp_path, "one")
    assert (tmp_path / "part" / "state.parquet").read_text() == "one"


def test_a_folder_that_cannot_be_removed_hides_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rmdir = os.rmdir

    def refuse(path: str, **options: object) -> None:
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(os, "rmdir", refuse)
    with written(tmp_path, "one"):
        pass
    (left,) = tmp_path.iterdir()
    place(tmp_path, "two")
    place(tmp_path, "one")
    clear_abandoned(tmp_path)
    assert (tmp_path / "part" / "state.parquet").read_text() == "one"
    monkeypatch.setattr(os, "rmdir", rmdir)
    clear_abandoned(tmp_path)
    assert not left.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["part"]


def leave(parts: Path, host: str, process: int, age: float = 0) -> Path:
    """A folder as a process leaves it, changed `age` seconds ago."""
    folder = parts / f".part.{host}-{process}-000000001.tmp"
    folder.mkdir()
    (folder / "state.parquet").write_text("half")
    for path in (folder / "state.parquet", folder):
        os.utime(path, (time.time() - age, time.time() - age))
    return folder


def ended_process() -> int:
    with subprocess.Popen([sys.executable, "-S", "-c", ""]) as process:
        pass
    return process.pid


def is_cleared(folder: Path) -> bool:
    clear_abandoned(folder.parent)
    return not folder.exists()


def test_what_this_process_left_is_removed(tmp_path: Path) -> None:
    assert is_cleared(leave(tmp_path, HERE, os.getpid()))


@pytest.fixture
def running() -> Iterator[int]:
    """A process that runs meanwhile, and does so to the end: no signal is sent to it."""
    words = [sys.executable, "-S", "-c", "input()"]
    with subprocess.Popen(words, stdin=subprocess.PIPE) as process:
        yield process.pid
        assert process.stdin is not None
        process.stdin.write(b"\n")
        process.stdin.close()
        assert process.wait(30) == 0


def test_what_a_running_process_writes_stays(tmp_path: Path, running: int) -> None:
    assert not is_cleared(leave(tmp_path, HERE, running, 2 * ABANDONED_S))


def test_what_another_users_process_writes_stays(
    tmp_path: Path, running: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(process: int, number: int) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(part_folder.os, "kill", refuse)
    assert not is_cleared(leave(tmp_path, HERE, running, 2 * ABANDONED_S))


def test_a_process_is_only_asked_whether_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[int, int]] = []
    monkeypatch.setattr(part_folder.os, "kill", lambda *each: sent.append(each))
    assert not is_cleared(leave(tmp_path, HERE, 123456))
    assert sent == [(123456, 0)]


def test_what_an_ended_process_left_is_removed(tmp_path: Path) -> None:
    assert is_cleared(leave(tmp_path, HERE, ended_process()))


def test_what_another_machine_writes_stays_for_an_hour(tmp_path: Path) -> None:
    assert not is_cleared(leave(tmp_path, "elsewhere", os.getpid(), ABANDONED_S - 60))
    assert is_cleared(leave(tmp_path, "elsewhere-2", os.getpid(), ABANDONED_S + 60))


def test_a_file_that_was_just_written_keeps_its_folder(tmp_path: Path) -> None:
    folder = leave(tmp_path, "elsewhere", os.getpid(), 2 * ABANDONED_S)
    os.utime(folder / "state.parquet")
    assert not is_cleared(folder)


def test_a_folder_that_cannot_be_looked_into_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = leave(tmp_path, "elsewhere", os.getpid(), 2 * ABANDONED_S)

    def gone(path: Path) -> Iterator[Path]:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "iterdir", gone)
        clear_abandoned(tmp_path)
    assert folder.exists()


def test_a_machine_without_a_name_has_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "node", lambda: "")
    with written(tmp_path, "one") as (temporary, _):
        assert temporary.name.startswith(".part.host-")
        assert is_cleared(temporary)  # of this process, as its number says
        temporary.mkdir()


def test_names_of_earlier_versions_and_files_are_removed(tmp_path: Path) -> None:
    (tmp_path / ".part.tmp").mkdir()
    (tmp_path / ".part.json.123.tmp").touch()
    (tmp_path / "part.tmp").mkdir()
    clear_abandoned(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["part.tmp"]
