from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from pipeline.errors import StoreError
from pipeline.store import files
from pipeline.store.files import atomic_path


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


def fails(*arguments: object, **options: object) -> None:
    raise OSError(errno.EIO, os.strerror(errno.EIO))
