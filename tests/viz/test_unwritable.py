"""An OUT that cannot be written to, or whose folders are something else, ends every command in one line."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.commands import run
from tests.fixtures.tiny import write_tars

pytestmark = pytest.mark.slow

WORDS: dict[str, tuple[str, ...]] = {
    "sheets": ("sheets", "--layer", "first", "--units", "0", "--pdf"),
    "projections": ("project", "--layer", "first", "--units", "0", "--method", "gradient"),
    "renders": ("render", "--layer", "first", "--units", "0", "--recipe", "fourier", "--steps", "1"),
}


@pytest.fixture(scope="module")
def indexed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("indexed")
    write_tars(folder / "data", [4])
    options = ("--network", "tests.fixtures.tiny:factory", "--layers", "first", "--compile", "off")
    assert run("index", folder / "data", "-o", folder / "out", *options, "--top", "3").exit_code == 0
    return folder / "out"


@pytest.fixture
def out(indexed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(indexed, tmp_path / "out"))


def refused(out: Path, words: tuple[str, ...]) -> str:
    result = run(words[0], out, *words[1:])
    assert result.exit_code in (1, 2), result.output  # 2 where no index is
    assert isinstance(result.exception, SystemExit), "a traceback"
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    return line


@pytest.mark.parametrize("folder", WORDS)
def test_a_file_in_place_of_the_folder(out: Path, folder: str) -> None:
    (out / folder).write_text("mine")
    assert f"cannot create {out / folder}" in refused(out, WORDS[folder])
    assert (out / folder).read_text() == "mine"


@pytest.mark.parametrize("folder", WORDS)
def test_a_read_only_index(out: Path, folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def open_read_only(path: Any, flags: int, *more: Any, **named: Any) -> int:
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) and Path(os.fspath(path)).is_relative_to(out):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        return plain_open(path, flags, *more, **named)

    plain_open = os.open
    monkeypatch.setattr(os, "open", open_read_only)
    assert f"cannot write into {out}: Read-only file system" in refused(out, WORDS[folder])
    assert not (out / folder).exists()


@pytest.mark.parametrize("folder", WORDS)
def test_a_folder_that_became_read_only(out: Path, folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither writing nor removing the temporary file is possible."""

    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(os, "replace", refuse)
    monkeypatch.setattr(Path, "unlink", refuse)
    line = refused(out, WORDS[folder])
    assert f"cannot write {out / folder}" in line
    assert "Permission denied" in line


@pytest.mark.parametrize("folder", WORDS)
def test_an_absent_or_closed_index(
    out: Path, folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command, *words = WORDS[folder]
    assert "does not exist" in refused(tmp_path / "nowhere", (command, *words))
    (tmp_path / "file").write_text("mine")
    assert "holds no index" in refused(tmp_path / "file", (command, *words))

    def refuse(*_: Any, **__: Any) -> bool:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", refuse)
        assert "cannot be read: Permission denied" in refused(out, (command, *words))
