"""Settings that must hold before a test module imports torch, and a home of the tests' own."""

import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import typer.testing
from hypothesis import settings

# A machine that is busy is no failure.
settings.register_profile("no limit of time", deadline=None)
settings.load_profile("no limit of time")

if "PYTEST_XDIST_WORKER" in os.environ:
    # One process per core already: more threads in each would only wait for each other.
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The home folder, which has the key that indexes are signed with, and caches."""
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(folder))
        yield folder


@pytest.fixture(scope="session", autouse=True)
def one_command_tree() -> Iterator[None]:
    """Build the tree of commands once, not again for each of some thousand calls (18 ms each)."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(typer.testing, "_get_command", cache(typer.testing._get_command))
        yield
