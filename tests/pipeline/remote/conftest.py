"""A dataset and its index on this machine, with which indexes at addresses are compared."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.runs.run import run_index
from tests.fixtures.runs import config
from tests.fixtures.storage import SIZES
from tests.fixtures.tiny import tiny_network, write_tars


@pytest.fixture(scope="session")
def tars(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A shard for each of `SIZES`; not to be changed."""
    return write_tars(tmp_path_factory.mktemp("data"), list(SIZES))


@pytest.fixture(scope="session")
def at_home(tars: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Their index in a folder, a part for each shard; not to be changed."""
    out = tmp_path_factory.mktemp("home") / "run"
    run_index(config(tars, out, shards_per_part=1), network=tiny_network())
    return out
