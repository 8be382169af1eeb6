import errno
import os

import pytest
from typer.testing import CliRunner

from pipeline.cli.failed_call import failed_call
from viz.cli import app


@pytest.mark.parametrize("number", [errno.EIO, errno.EMFILE, errno.ENOSPC, errno.EROFS])
def test_an_error_of_the_operating_system_is_one_line(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*arguments: object, **options: object) -> object:
        raise OSError(number, os.strerror(number), "out/run.json")

    monkeypatch.setattr("pipeline.query.index.open_index", fails)
    result = CliRunner().invoke(app, ["top", "out", "head", "0"])
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"error: {os.strerror(number)} (out/run.json); ")


@pytest.mark.parametrize("error", [ValueError("a"), BrokenPipeError(errno.EPIPE, "b")])
def test_other_errors_are_not_described(error: Exception) -> None:
    assert failed_call(error) == ""
