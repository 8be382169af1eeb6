"""The engine with a process for each device, with several CPUs as devices."""

from __future__ import annotations

import contextlib
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.config import EngineConfig
from pipeline.data.dataset import open_dataset
from pipeline.engines import merge_work
from pipeline.engines.engine import Engine, LocalEngine, Place
from pipeline.engines.index_work import IndexWork
from pipeline.engines.merge_work import MergeWork
from pipeline.engines.open_engine import open_engine
from pipeline.engines.processes import ProcessesEngine
from pipeline.engines.sameness import identify
from pipeline.errors import DeviceError, EngineError, ShardError, StoreError
from pipeline.layers.choose import choose_layers
from pipeline.progress import Silent, SilentTask
from pipeline.runs.run import run_index
from pipeline.state import merging
from pipeline.state.commit import list_commits
from pipeline.state.merging import BlockMerge
from tests.fixtures.clusters import Deadly, Slow, with_weights
from tests.fixtures.runs import config, hashes
from tests.fixtures.tiny import LAYERS, tiny_network, write_tars

pytestmark = pytest.mark.slow

SIZES = [9, 14, 1, 20]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def tars(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_tars(tmp_path_factory.mktemp("data"), SIZES)


def test_the_index_is_that_of_one_process(tars: list[Path], tmp_path: Path) -> None:
    run_index(config(tars, tmp_path / "one"), network=tiny_network())
    run_index(config(tars, tmp_path / "two"), network=tiny_network(), engine=ProcessesEngine([CPU, CPU]))
    assert hashes(tmp_path / "two") == hashes(tmp_path / "one")
    assert len(list_commits(tmp_path / "two" / "parts")) == len(SIZES)
    assert not list((tmp_path / "two" / "parts").glob(".*"))


def test_blocks_that_are_merged_elsewhere_give_the_same_tables(
    tars: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_index(config(tars, tmp_path / "one"), network=tiny_network())
    monkeypatch.setattr(merging, "units_per_block", lambda k: 2)
    merged: list[str] = []

    class Watched(ProcessesEngine):
        def map(self, work: Any, items: Any, task: Any) -> Any:
            merged.extend(map(work.label, items) if isinstance(work, MergeWork) else ())
            return super().map(work, items, task)

    for name, spread_from in (("few", 1000), ("many", 1)):
        monkeypatch.setattr(merge_work, "SPREAD_FROM", spread_from)
        monkeypatch.chdir(tmp_path)
        out = Path(name)
        run_index(config(tars, out), network=tiny_network(), engine=Watched([CPU, CPU]))
        assert hashes(out) == hashes(tmp_path / "one")
        assert merged[:2] == ([] if name == "few" else ["units 0 to 1", "units 2 to 3"])


def test_a_part_that_a_merging_process_cannot_read_is_named(tars: list[Path], tmp_path: Path) -> None:
    run_index(config(tars, tmp_path), network=tiny_network())
    commits = list_commits(tmp_path / "parts")
    ordinals = {shard.name: n for n, shard in enumerate(s for commit in commits for s in commit.shards)}
    work = MergeWork(BlockMerge(tuple(commits), ordinals, commits[0].k, 44))
    (commits[1].folder / "state.parquet").write_bytes(b"torn")
    with (
        pytest.raises(StoreError, match=commits[1].path.stem),
        contextlib.closing(
            ProcessesEngine([CPU]).map(work, [slice(0, 4), slice(4, 9)], SilentTask())
        ) as done,
    ):
        list(done)
    with (
        pytest.raises(EngineError, match="does not see"),
        work_without_parts(work).open(Place(CPU, node="n")),
    ):
        pass


def work_without_parts(work: MergeWork) -> MergeWork:
    commits = tuple(
        replace(commit, path=commit.path.parent / "gone" / "x.json") for commit in work.merge.commits
    )
    return MergeWork(replace(work.merge, commits=commits))


def test_a_damaged_shard_ends_the_run_by_its_name(tars: list[Path], tmp_path: Path) -> None:
    damaged = write_tars(tmp_path / "data", SIZES)
    damaged[2].write_bytes(damaged[2].read_bytes()[:600] + b"\xff" * 900)
    started = time.monotonic()
    with pytest.raises(ShardError, match="tiny-002") as caught:
        run_index(
            config(damaged, tmp_path / "out"),
            network=with_weights(Slow(0.2)),
            engine=ProcessesEngine([CPU, CPU]),
        )
    assert "tiny-002" in caught.value.shard
    assert time.monotonic() - started < 60
    for commit in list_commits(tmp_path / "out" / "parts", clear=False):
        commit.verify()
    assert not list((tmp_path / "out" / "parts").glob(".*"))


def test_a_process_that_is_killed_is_told_by_its_shard(tars: list[Path], tmp_path: Path) -> None:
    (tmp_path / "deaths").mkdir()
    with pytest.raises(EngineError, match=r"on cpu was ended by signal 9 .* while it ran shard tiny-00\d"):
        run_index(
            config(tars, tmp_path / "out"),
            network=with_weights(Deadly(tmp_path / "deaths", 1)),
            engine=ProcessesEngine([CPU]),
        )
    run_index(config(tars, tmp_path / "out"), network=tiny_network())
    run_index(config(tars, tmp_path / "one"), network=tiny_network())
    assert hashes(tmp_path / "out") == hashes(tmp_path / "one")


def test_a_process_with_other_weights_is_refused(tars: list[Path], tmp_path: Path) -> None:
    network = tiny_network()
    layers = choose_layers(network, LAYERS)
    (tmp_path / "run.json").touch()
    identity = identify(tiny_network(3).module, CPU)
    work = IndexWork(config(tars, tmp_path), network, layers, tmp_path / "parts", "f" * 64, False)
    groups = [[shard] for shard in open_dataset([str(tar) for tar in tars]).shards]
    engine = ProcessesEngine([CPU])
    with Silent().task("", None, "") as task, pytest.raises(EngineError, match="weights is"):
        list(engine.map(replace(work, identity=identity), groups, task))


def test_the_rest_is_ended_when_no_more_is_asked_for(tars: list[Path], tmp_path: Path) -> None:
    network = with_weights(Slow(0.2))
    layers = choose_layers(network, LAYERS)
    work = IndexWork(config(tars, tmp_path), network, layers, tmp_path / "parts", "f" * 64, False)
    groups = [[shard] for shard in open_dataset([str(tar) for tar in tars]).shards]
    with (
        Silent().task("", None, "") as task,
        contextlib.closing(ProcessesEngine([CPU, CPU]).map(work, groups, task)) as results,
    ):
        next(results)
    commits = list_commits(tmp_path / "parts", clear=False)
    assert 1 <= len(commits) < len(SIZES)
    assert not list((tmp_path / "parts").glob(".*"))


def test_engines_are_found_by_device() -> None:
    with open_engine(EngineConfig(), "cpu") as engine:
        found: Engine = engine
        assert found == LocalEngine(CPU)
        assert (found.slots, found.is_apart, found.ask(max, 1, 2)) == (1, False, 2)
    if not torch.cuda.is_available():
        with pytest.raises(DeviceError, match="--device cuda:all: "), open_engine(EngineConfig(), "cuda:all"):
            pass
