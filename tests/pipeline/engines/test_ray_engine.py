"""Indexing on a Ray cluster of several nodes, disturbed in every way: the index is always the same."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pipeline.config import EngineConfig, RunConfig
from pipeline.data.dataset import open_dataset
from pipeline.engines import merge_work
from pipeline.engines.index_work import IndexWork
from pipeline.engines.ray_cluster import Share
from pipeline.engines.ray_engine import RayEngine, open_ray
from pipeline.engines.sameness import identify
from pipeline.errors import EngineError, MaxactError, ShardError, UsageError
from pipeline.layers.choose import choose_layers
from pipeline.progress import Silent
from pipeline.runs.merge import merge_runs
from pipeline.runs.run import run_index
from pipeline.state import merging
from pipeline.state.commit import list_commits
from tests.fixtures.clusters import Deadly, Nodes, Slow, open_cluster, with_weights
from tests.fixtures.runs import config, hashes
from tests.fixtures.tiny import LAYERS, tiny_network, write_tars

pytestmark = [pytest.mark.slow, pytest.mark.thorough, pytest.mark.filterwarnings("ignore")]

SIZES = [9, 14, 1, 20, 7, 8]
BOUND_S = 60.0
RAY = EngineConfig("ray", shards_per_task=1)


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    with open_cluster(2) as found:
        yield found


@pytest.fixture(scope="module")
def tars(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_tars(tmp_path_factory.mktemp("data"), SIZES)


@pytest.fixture(scope="module")
def wanted(tars: list[Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The tables of a run in this process."""
    out = tmp_path_factory.mktemp("wanted")
    run_index(config(tars, out), network=tiny_network())
    return hashes(out)


def leftovers(out: Path) -> list[Path]:
    return list((out / "parts").glob(".*"))


def after_commits(out: Path, count: int, act: Callable[[], object]) -> threading.Thread:
    """Do something in a thread as soon as that many parts are committed."""

    def wait() -> None:
        while len(list((out / "parts").glob("*.json"))) < count:
            time.sleep(0.02)
        act()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


def test_the_index_is_that_of_one_process(
    nodes: Nodes, tars: list[Path], wanted: dict[str, str], tmp_path: Path
) -> None:
    nodes.grow(2)
    run_index(config(tars, tmp_path, engine=RAY), network=tiny_network())
    assert hashes(tmp_path) == wanted
    assert not leftovers(tmp_path)
    assert len(list_commits(tmp_path / "parts")) == len(SIZES)
    assert "engine" not in json.loads((tmp_path / "run.json").read_text())["config"]


def test_runs_are_merged_as_tasks(
    nodes: Nodes, tars: list[Path], wanted: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes.grow(2)
    monkeypatch.setattr(merging, "units_per_block", lambda k: 2)
    monkeypatch.setattr(merge_work, "SPREAD_FROM", 1)
    for half, name in ((tars[:3], "a"), (tars[3:], "b")):
        run_index(config(half, tmp_path / name), network=tiny_network())
    merge_runs(
        tmp_path / "out", [tmp_path / "b", tmp_path / "a"], engine=EngineConfig("ray", gpus_per_task=0)
    )
    assert hashes(tmp_path / "out") == wanted


def test_a_lost_node_changes_nothing(
    nodes: Nodes, tars: list[Path], wanted: dict[str, str], tmp_path: Path
) -> None:
    nodes.grow(2)
    thread = after_commits(tmp_path, 1, nodes.lose)
    run_index(config(tars, tmp_path, engine=RAY), network=with_weights(Slow(0.8)))
    assert not thread.is_alive()
    assert len(nodes.workers) == 1
    assert hashes(tmp_path) == wanted


def test_a_killed_worker_changes_nothing(
    nodes: Nodes, tars: list[Path], wanted: dict[str, str], tmp_path: Path
) -> None:
    nodes.grow(1)
    deaths = tmp_path / "deaths"
    deaths.mkdir()
    run_index(config(tars, tmp_path / "out", engine=RAY), network=with_weights(Deadly(deaths, 2)))
    assert len(list(deaths.iterdir())) == 2
    assert hashes(tmp_path / "out") == wanted


def test_a_killed_driver_goes_on(
    nodes: Nodes, tars: list[Path], wanted: dict[str, str], tmp_path: Path
) -> None:
    nodes.grow(1)
    code = tmp_path / "driver.py"
    code.write_text(
        "import sys\n"
        "from pathlib import Path\n"
        "from pipeline.runs.run import run_index\n"
        "from pipeline.config import EngineConfig\n"
        "from tests.fixtures.clusters import Slow, with_weights\n"
        "from tests.fixtures.runs import config\n"
        "engine = EngineConfig('ray', address=sys.argv[1], shards_per_task=1)\n"
        "tars = [Path(name) for name in sys.argv[3:]]\n"
        "run_index(config(tars, Path(sys.argv[2]), engine=engine), network=with_weights(Slow(0.5)))\n"
    )
    out = tmp_path / "out"
    root = Path(__file__).resolve().parents[3]
    driver = subprocess.Popen(
        [sys.executable, str(code), nodes.address, str(out), *map(str, tars)],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    after_commits(out, 1, driver.kill).join(BOUND_S)
    assert driver.wait(BOUND_S) == -signal.SIGKILL
    done = {commit.path.name for commit in list_commits(out / "parts", clear=False)}
    assert 0 < len(done) < len(SIZES)
    summary = run_index(config(tars, out, engine=RAY), network=tiny_network())
    assert summary.resumed_shards >= len(done)
    assert hashes(out) == wanted


def work_of(tars: list[Path], out: Path) -> IndexWork:
    network = tiny_network()
    layers = choose_layers(network, LAYERS)
    out.mkdir()
    (out / "run.json").touch()
    made: RunConfig = config(tars, out)
    identity = identify(network.module, torch.device("cpu"))
    return IndexWork(made, network, layers, out / "parts", "f" * 64, False, identity=identity)


def test_a_task_that_runs_twice_changes_nothing(nodes: Nodes, tars: list[Path], tmp_path: Path) -> None:
    nodes.grow(2)
    work = work_of(tars, tmp_path / "out")
    groups = [[shard] for shard in open_dataset([str(tar) for tar in tars]).shards]
    with open_ray(RAY, "cpu") as engine, Silent().task("", None, "") as task:
        found = dict(engine.map(work, [group for group in groups for _ in range(2)], task))
    for first in range(0, len(found), 2):
        assert replace(found[first], path=found[first + 1].path) == found[first + 1]
    commits = list_commits(tmp_path / "out" / "parts", clear=False)
    assert len(commits) == len(groups)
    for commit in commits:
        commit.verify()
    assert not leftovers(tmp_path / "out")


def test_a_shard_that_always_fails_ends_the_run(nodes: Nodes, tars: list[Path], tmp_path: Path) -> None:
    nodes.grow(2)
    damaged = write_tars(tmp_path / "data", SIZES)
    damaged[2].write_bytes(damaged[2].read_bytes()[:600] + b"\xff" * 900)
    started = time.monotonic()
    with pytest.raises(ShardError, match="tiny-002"):
        run_index(config(damaged, tmp_path / "out", engine=RAY), network=with_weights(Slow(0.2)))
    assert time.monotonic() - started < BOUND_S
    assert not leftovers(tmp_path / "out")
    for commit in list_commits(tmp_path / "out" / "parts", clear=False):
        commit.verify()


def test_a_shard_that_ends_every_process_ends_the_run(nodes: Nodes, tars: list[Path], tmp_path: Path) -> None:
    import ray

    nodes.grow(1)
    deaths = tmp_path / "deaths"
    deaths.mkdir()
    engine = RayEngine(ray, Share(1, 0), max_starts=2)
    with pytest.raises(EngineError, match=r"shard tiny-00\d.*the process that ran it ended 2 times"):
        run_index(
            config(tars[:1], tmp_path / "out", engine=RAY),
            network=with_weights(Deadly(deaths, 99)),
            engine=engine,
        )


def test_another_process_is_refused_by_node(nodes: Nodes, tars: list[Path], tmp_path: Path) -> None:
    nodes.grow(1)
    work = work_of(tars, tmp_path / "out")
    groups = [[shard] for shard in open_dataset([str(tar) for tar in tars]).shards]
    cases: list[tuple[IndexWork, str]] = [
        (replace(work, identity={**work.identity, "torch": "1.0"}), r"node .*\(.*\) would .*torch is .*1\.0"),
        (replace(work, network=tiny_network(3)), r"node .* would compute something else: weights is"),
        (replace(work, places=(tmp_path / "elsewhere",)), r"node .* does not see .*elsewhere"),
    ]
    with open_ray(RAY, "cpu") as engine, Silent().task("", None, "") as task:
        for case, message in cases:
            with pytest.raises(EngineError, match=message):
                list(engine.map(case, groups[:1], task))


def test_a_task_that_fits_no_node_is_refused(nodes: Nodes) -> None:
    for changes in ({"cpus_per_task": 1000}, {"gpus_per_task": 1}):
        with (
            pytest.raises(UsageError, match="no node of the cluster has"),
            open_ray(EngineConfig("ray", **changes), "auto"),  # type: ignore[arg-type]
        ):
            pass


def test_an_error_where_work_runs_comes_back(nodes: Nodes) -> None:
    with open_ray(RAY, "cpu") as engine:
        assert engine.ask(max, 3, 5) == 5
        with pytest.raises(MaxactError, match="ValueError"):
            engine.ask(int, "many")
