"""Engines whose processes write their parts to an OUT on S3 themselves."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import boto3
import pytest
import torch
from botocore.exceptions import ClientError

from pipeline.config import EngineConfig
from pipeline.engines.processes import ProcessesEngine
from pipeline.errors import EngineError
from pipeline.query.index import open_index
from pipeline.remote.local import release
from pipeline.runs.run import run_index
from tests.fixtures.clusters import Slow, open_cluster, with_weights
from tests.fixtures.runs import config, hashes
from tests.fixtures.serving import bucket
from tests.fixtures.storage import Machines, machines
from tests.fixtures.tiny import tiny_network, write_tars

__all__ = ["bucket", "machines"]

pytestmark = [pytest.mark.slow, pytest.mark.thorough, pytest.mark.filterwarnings("ignore")]

SIZES = [9, 14, 1, 20]
CPU = torch.device("cpu")


@pytest.fixture
def out(bucket: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of an OUT where nothing is."""
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for each in boto3.resource("s3").Bucket(bucket).objects.all():
        each.delete()  # moto keeps them as long as the process
    return f"s3://{bucket}/run"


@pytest.fixture(scope="module")
def tars(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_tars(tmp_path_factory.mktemp("data"), SIZES)


@pytest.fixture(scope="module")
def wanted(tars: list[Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The tables of a run in this process, into a folder."""
    found = tmp_path_factory.mktemp("wanted")
    run_index(config(tars, found, shards_per_part=1), network=tiny_network())
    return hashes(found)


def tables_at(out: str) -> dict[str, str]:
    """The tables there, as a machine finds them that has nothing yet."""
    release()
    with open_index(out) as opened:
        return hashes(opened.out)


def test_processes_write_their_parts(
    out: str, machines: Machines, tars: list[Path], wanted: dict[str, str]
) -> None:
    cache = machines.cache
    asked = config(tars, out, shards_per_part=1, cache=cache)  # type: ignore[arg-type]
    run_index(asked, network=tiny_network(), engine=ProcessesEngine([CPU, CPU]))
    kept = [len(list(folder.glob("run/parts/*.json"))) for folder in (cache / "remote").iterdir()]
    assert sorted(kept) == [0, 0, len(SIZES)], "only the process that merges keeps parts"
    machines.change()
    assert tables_at(out) == wanted


def test_processes_that_see_other_storage_end_the_run(out: str, machines: Machines, tars: list[Path]) -> None:
    with pytest.raises(EngineError, match=rf"does not see {out}/run.json"):
        _work_elsewhere(out, machines, tars)


def _work_elsewhere(out: str, machines: Machines, tars: list[Path]) -> None:
    """Remove run.json when processes are about to start, as if they saw another bucket."""
    client = boto3.client("s3")
    bucket = out.split("/")[2]
    map_items = ProcessesEngine.map

    def blind(self, work, items, task):  # type: ignore[no-untyped-def]
        client.delete_object(Bucket=bucket, Key="run/run.json")
        return map_items(self, work, items, task)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ProcessesEngine, "map", blind)
        asked = config(tars, out, shards_per_part=1, fresh=True, cache=machines.cache)  # type: ignore[arg-type]
        run_index(asked, network=tiny_network(), engine=ProcessesEngine([CPU, CPU]))


def test_a_cluster_that_loses_a_node_writes_the_same_index(
    out: str, machines: Machines, tars: list[Path], wanted: dict[str, str]
) -> None:
    client = boto3.client("s3")
    bucket = out.split("/")[2]

    def commits() -> int:
        try:
            listed = client.list_objects_v2(Bucket=bucket, Prefix="run/parts/").get("Contents", [])
        except ClientError:
            return 0
        return sum(each["Key"].endswith(".json") for each in listed)

    with open_cluster(2) as nodes:

        def lose() -> None:
            while commits() < 1:
                time.sleep(0.02)
            nodes.lose()

        threading.Thread(target=lose, daemon=True).start()
        engine = EngineConfig("ray", nodes.address, shards_per_task=1)
        run_index(
            config(tars, out, engine=engine, cache=machines.cache),  # type: ignore[arg-type]
            network=with_weights(Slow(0.1)),
        )
    machines.change()
    assert tables_at(out) == wanted
