from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.errors import StoreError
from pipeline.store import files
from pipeline.store.files import atomic_path

WRITER = """
import sys, time
from pathlib import Path
from pipeline.store.files import atomic_path
with atomic_path(Path(sys.argv[1])) as temporary:
    temporary.write_text("half")
    print("ready", flush=True)
    time.sleep(60)
"""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_only_the_temporary_files_of_killed_processes_are_removed(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a[1].json"
    (tmp_path / ".b.json.1.tmp").touch()
    (tmp_path / ".a[1].json.notes").touch()
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, cwd=Path(__file__).parents[3]
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        others = [".a[1].json.notes", ".b.json.1.tmp"]
        with atomic_path(path) as temporary:
            temporary.write_text("first")
        theirs = f".a[1].json.{process.pid}.tmp"
        assert names(tmp_path) == sorted([*others, theirs, "a[1].json"])
        process.send_signal(signal.SIGKILL)
        process.wait()
    with atomic_path(path) as temporary:
        temporary.write_text("second")
    assert names(tmp_path) == [*others, "a[1].json"]
    assert path.read_text() == "second"


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


def fails(*arguments: object, **options: object) -> None:
    raise OSError(errno.EIO, os.strerror(errno.EIO))
