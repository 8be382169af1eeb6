"""What leaves a process: work, errors, and what is said of processes that end."""

from __future__ import annotations

import importlib.metadata
import pickle
import signal
from pathlib import Path

import pytest
import torch

from pipeline.engines import processes
from pipeline.engines.sameness import identify, refuse_blind, refuse_other
from pipeline.engines.transport import pack, portable_error, unpack
from pipeline.errors import BadImage, EngineError, MaxactError, ShardError, StoreError
from tests.fixtures.tiny import tiny_network


class Unwilling:
    """Raises what it is told when it is pickled."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __reduce__(self) -> tuple[type, tuple[()]]:
        raise self.error


def test_what_cannot_be_sent_is_one_line() -> None:
    for error, said in (
        (TypeError("cannot pickle\na generator"), "cannot pickle a generator"),
        (KeyError(), ""),
    ):
        with pytest.raises(
            EngineError, match=f"the work cannot be sent to other processes: {said or 'KeyError'};"
        ):
            pack(Unwilling(error), "the work")
    for kind in (KeyboardInterrupt, MemoryError):
        with pytest.raises(kind):
            pack(Unwilling(kind()), "the work")
    assert unpack(pack({"a": 1}, "the work")) == {"a": 1}


@pytest.mark.parametrize(
    "error", [ShardError("a.tar", "is damaged"), StoreError("no"), BadImage("bomb", "no")]
)
def test_an_error_comes_back_as_it_was(error: MaxactError) -> None:
    back = pickle.loads(pickle.dumps(portable_error(error)))
    assert type(back) is type(error)
    assert str(back) == str(error)
    assert getattr(back, "kind", None) == getattr(error, "kind", None)


class Strange(MaxactError):
    """An error that is made of something else than its message."""

    def __init__(self, number: int, *, unit: str) -> None:
        super().__init__(f"{number} {unit}")


def test_an_error_that_cannot_be_pickled_keeps_its_message() -> None:
    back = portable_error(Strange(3, unit="px"))
    assert type(back) is EngineError
    assert str(back) == "3 px"
    assert "ZeroDivisionError" in str(portable_error(ZeroDivisionError("division")))


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (None, "closed its connection"),
        (3, "ended with exit code 3"),
        (-signal.SIGTERM, "was ended by signal 15"),
        (-signal.SIGKILL, "was ended by signal 9 (out of memory?)"),
    ],
)
def test_how_a_process_ended(code: int | None, said: str) -> None:
    assert processes._ending(code) == said


def test_a_package_that_is_not_installed_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    version = importlib.metadata.version

    def lacking(name: str) -> str:
        if name == "simplejpeg":
            raise importlib.metadata.PackageNotFoundError(name)
        return version(name)

    here = identify(tiny_network().module, torch.device("cpu"))
    monkeypatch.setattr(importlib.metadata, "version", lacking)
    there = identify(tiny_network().module, torch.device("cpu"))
    assert there["simplejpeg"] == "none"
    refuse_other(here, here, "n1")
    if here["simplejpeg"] != "none":
        with pytest.raises(
            EngineError, match=r"node n1 would compute something else: simplejpeg is none there"
        ):
            refuse_other(here, there, "n1")


def test_a_machine_that_does_not_see_a_path_is_named(tmp_path: Path) -> None:
    refuse_blind([tmp_path], "n1")
    with pytest.raises(
        EngineError, match=r"node n1 does not see .*none; OUT and the dataset must have the same"
    ):
        refuse_blind([tmp_path, tmp_path / "none"], "n1")
