import errno
import os
import sys
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from pipeline.cli import interrupts
from pipeline.cli.failed_call import failed_call
from pipeline.cli.out_of_memory import out_of_memory
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


def test_a_name_that_is_too_long_was_typed_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*arguments: object, **options: object) -> object:
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), "xxx")

    monkeypatch.setattr("pipeline.query.index.open_index", fails)
    result = CliRunner().invoke(app, ["top", "out", "head", "0"])
    assert result.exit_code == 2
    assert result.stderr == "error: the name is too long (xxx)\n"


class OutOfMemoryException(Exception):
    """As DuckDB's."""


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (MemoryError(), "MemoryError"),
        (OutOfMemoryException("failed to\n allocate"), "failed to allocate"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "[Errno 12] Cannot allocate memory"),
        (RuntimeError("CUDA out of memory. Tried to allocate"), "CUDA out of memory. Tried to allocate"),
        (RuntimeError("can't start new thread"), "can't start new thread"),
        (ImportError("libx.so: failed to map segment"), "libx.so: failed to map segment"),
    ],
)
def test_whatever_means_that_memory_ran_out_is_one_line(
    error: Exception, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*arguments: object, **options: object) -> object:
        raise ValueError("a library's own words") from error

    monkeypatch.setattr("pipeline.query.index.open_index", fails)
    result = CliRunner().invoke(app, ["top", "out", "head", "0"])
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"error: out of memory ({reason}); what was finished is kept. Use a smaller")


@pytest.mark.parametrize("error", [ValueError("out of memory"), RuntimeError("no"), OSError(errno.EIO, "x")])
def test_other_errors_are_not_called_too_little_memory(error: Exception) -> None:
    assert out_of_memory(error) == ""


def test_an_error_in_a_finaliser_is_shown_unless_it_is_the_interruption(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shown: list[type[BaseException]] = []
    monkeypatch.setattr(sys, "__unraisablehook__", lambda lost: shown.append(lost.exc_type))
    for came, kind in ((False, KeyboardInterrupt), (True, ValueError), (True, KeyboardInterrupt)):
        monkeypatch.setattr(interrupts, "was_interrupted", lambda came=came: came)
        interrupts._drop_own(SimpleNamespace(exc_type=kind))  # type: ignore[arg-type]
    assert shown == [KeyboardInterrupt, ValueError]
