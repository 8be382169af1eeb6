"""A run killed at any moment and started again gives the tables of an undisturbed run."""

from __future__ import annotations

import errno
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Iterator
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest

from pipeline.engines import index_work
from pipeline.errors import StoreError
from pipeline.runs.run import run_index
from pipeline.state import commit_file
from pipeline.store.run_file import locked
from tests.fixtures.runs import hashes, resumable, run_resumable
from tests.fixtures.tiny import tiny_network, write_tars

SIZES = [40] * 12
KILLS = 20
PRELOADED = ["pipeline.runs.run", "tests.fixtures.tiny", "duckdb", "pandas", "pyarrow.dataset"]


@pytest.fixture(scope="module")
def tars(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_tars(tmp_path_factory.mktemp("data"), SIZES)


@pytest.fixture(scope="module")
def undisturbed(tars: list[Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    out = tmp_path_factory.mktemp("undisturbed")
    run_index(resumable(tars, out), network=tiny_network())
    return hashes(out)


@pytest.fixture(scope="module")
def server() -> Iterator[ForkServerContext]:
    """Starts processes that have everything loaded, so that they begin to index at once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(PRELOADED)
        yield context


@pytest.mark.slow
@pytest.mark.thorough
def test_killed_at_random_moments_it_resumes_to_the_same_bytes(
    tars: list[Path], undisturbed: dict[str, str], server: ForkServerContext, tmp_path: Path
) -> None:
    length = 0.0
    for whole in ("first", "timed"):  # the first waits until the server has loaded everything
        started = time.monotonic()
        process = server.Process(target=run_resumable, args=(tars, tmp_path / whole))
        process.start()
        process.join()
        assert process.exitcode == 0
        length = time.monotonic() - started
    draw = random.Random(0)
    interrupted = 0
    for number in range(KILLS):
        out = tmp_path / f"killed-{number}"
        process = server.Process(target=run_resumable, args=(tars, out))
        process.start()
        time.sleep(draw.uniform(0, 0.8 * length))
        process.kill()
        process.join()
        interrupted += process.exitcode == -signal.SIGKILL
        run_index(resumable(tars, out), network=tiny_network())
        assert hashes(out) == undisturbed, f"killed run {number}"
    assert interrupted >= KILLS / 4, "most runs ended before they were killed"


@pytest.mark.slow
@pytest.mark.parametrize("moment", range(8))
def test_failing_at_every_commit_it_resumes_to_the_same_bytes(
    tars: list[Path],
    undisturbed: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    moment: int,
) -> None:
    commit_part = index_work.commit_part
    done: list[object] = []

    def interrupted(*arguments: object) -> object:
        if len(done) == moment:
            raise KeyboardInterrupt
        done.append(commit_part(*arguments))  # type: ignore[arg-type]
        return done[-1]

    if moment < len(SIZES) // 2:
        with monkeypatch.context() as patch:
            patch.setattr(index_work, "commit_part", interrupted)
            with pytest.raises(KeyboardInterrupt):
                run_index(resumable(tars, tmp_path), network=tiny_network())
    summary = run_index(resumable(tars, tmp_path), network=tiny_network())
    assert summary.resumed_shards == (2 * moment if moment < len(SIZES) // 2 else 0)
    assert hashes(tmp_path) == undisturbed


@pytest.mark.slow
def test_a_part_that_cannot_be_read_for_the_moment_is_kept(
    tars: list[Path], undisturbed: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_index(resumable(tars, tmp_path), network=tiny_network())
    (tmp_path / "top.parquet").unlink()
    before = sorted((tmp_path / "parts").rglob("*"))

    def fails(path: Path) -> str:
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))

    with monkeypatch.context() as patch:
        patch.setattr(commit_file, "sha256_file", fails)
        with pytest.raises(StoreError, match="cannot be read: Input/output error"):
            run_index(resumable(tars, tmp_path), network=tiny_network())
    assert sorted((tmp_path / "parts").rglob("*")) == before
    run_index(resumable(tars, tmp_path), network=tiny_network())
    assert hashes(tmp_path) == undisturbed


@pytest.fixture
def held(tmp_path: Path) -> Iterator[Path]:
    with locked(tmp_path):
        yield tmp_path


def test_two_runs_do_not_work_in_one_folder(tars: list[Path], held: Path) -> None:
    with pytest.raises(StoreError, match="another process is working in"):
        run_index(resumable(tars, held), network=tiny_network())
