"""Indexing what lies behind an address gives the bytes of indexing the same files at home."""

from __future__ import annotations

import threading
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.check.audit import check_index
from pipeline.config import RunConfig
from pipeline.data import files as remote
from pipeline.errors import MaxactError, ShardError
from pipeline.query.index import open_index
from pipeline.runs.run import run_index
from pipeline.store.run_file import read_run
from tests.fixtures.runs import config, hashes, rows
from tests.fixtures.serving import Files, bucket, server
from tests.fixtures.tiny import picture, tiny_network, write_tars

pytestmark = pytest.mark.slow

__all__ = ["bucket", "server"]

SIZES = [9, 7, 5]
Server = tuple[str, type[Files]]


@pytest.fixture(scope="module")
def tars(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_tars(tmp_path_factory.mktemp("data"), SIZES)


@pytest.fixture(scope="module")
def at_home(tars: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("home")
    run_index(asked(tars, out), network=tiny_network())
    return out


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that would have been made."""
    made: list[float] = []
    monkeypatch.setattr("time.sleep", made.append)
    return made


def asked(data: list[str] | list[Path], out: Path) -> RunConfig:
    return config(data, out, shards_per_part=1, workers=1)  # type: ignore[arg-type]


def serve(handler: type[Files], tars: list[Path]) -> None:
    handler.files = {f"/set/{tar.name}": tar.read_bytes() for tar in tars}


def check_whole(out: Path, at_home: Path) -> None:
    assert hashes(out) == hashes(at_home)
    audit = check_index(out, sample=150, network=tiny_network())
    assert audit.peaks >= 150
    assert audit.discrepancies == ()
    with open_index(out) as index:
        assert index.image_bytes((2 << 24) + 3) == picture(9 + 7 + 3)


def test_over_http(
    server: Server, tars: list[Path], at_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, handler = server
    serve(handler, tars)
    monkeypatch.setattr(remote, "REMOTE_BLOCK", 3000)
    pattern = f"{url}/set/tiny-{{000..002}}.tar"
    run_index(asked([pattern], tmp_path), network=tiny_network())
    check_whole(tmp_path, at_home)
    assert read_run(tmp_path)["dataset"]["data"] == [pattern]


def test_a_server_that_stutters_changes_nothing(
    server: Server,
    tars: list[Path],
    at_home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    pauses: list[float],
) -> None:
    url, handler = server
    serve(handler, tars)
    handler.fail_every = 3
    monkeypatch.setattr(remote, "REMOTE_BLOCK", 5000)
    run_index(asked([f"{url}/set/tiny-{{000..002}}.tar"], tmp_path), network=tiny_network())
    check_whole(tmp_path, at_home)
    assert len(pauses) > 3
    assert rows(tmp_path, "errors") == [], "what the network did is no image's fault"


def test_a_server_that_goes_away_stops_the_run_and_the_next_one_goes_on(
    server: Server,
    tars: list[Path],
    at_home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    pauses: list[float],
) -> None:
    url, handler = server
    serve(handler, tars)
    monkeypatch.setattr(remote, "REMOTE_BLOCK", 3000)
    whole = asked([f"{url}/set/tiny-{{000..002}}.tar"], tmp_path)
    answer = Files.answer

    def gone(self: Files, *, body: bool) -> None:
        if "002" in self.path and body:
            self.send_error(503)
        else:
            answer(self, body=body)

    threads = threading.active_count()
    with monkeypatch.context() as patch:
        patch.setattr(handler, "answer", gone)
        with pytest.raises(ShardError, match=r"shard tiny-002.tar: .* cannot be read, tried 5"):
            run_index(whole, network=tiny_network())
    assert threading.active_count() <= threads + 2  # fsspec's own loop stays
    summary = run_index(whole, network=tiny_network())
    assert summary.resumed_shards == 2
    check_whole(tmp_path, at_home)


def test_a_shard_that_is_shorter_than_the_server_said_fails_by_name(
    server: Server, tars: list[Path], tmp_path: Path, pauses: list[float]
) -> None:
    url, handler = server
    serve(handler, tars)
    handler.files["/set/tiny-001.tar"] = handler.files["/set/tiny-001.tar"][:6000]
    with pytest.raises(ShardError, match=r"shard tiny-001.tar: does not end .*6,000 bytes"):
        run_index(asked([f"{url}/set/tiny-{{000..002}}.tar"], tmp_path), network=tiny_network())


def test_a_server_without_ranges_is_refused_by_name(
    server: Server, tars: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, handler = server
    serve(handler, tars)
    handler.ranges = False
    monkeypatch.setattr(remote, "REMOTE_BLOCK", 3000)
    with pytest.raises(ShardError, match=r"shard tiny-000.*the server ignores range requests"):
        run_index(asked([f"{url}/set/tiny-000.tar"], tmp_path), network=tiny_network())


def test_check_says_when_the_data_is_gone(
    server: Server, tars: list[Path], tmp_path: Path, pauses: list[float]
) -> None:
    url, handler = server
    serve(handler, tars)
    run_index(asked([f"{url}/set/tiny-000.tar"], tmp_path), network=tiny_network())
    handler.files = {}
    with pytest.raises(MaxactError, match="tiny-000"):
        check_index(tmp_path, network=tiny_network())


def test_parquet_over_http(server: Server, tmp_path: Path) -> None:
    url, handler = server
    images = pa.array(
        [{"bytes": picture(number), "path": f"{number}.png"} for number in range(11)],
        pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
    )
    table = pa.table({"image": images, "label": pa.array([number % 3 for number in range(11)])})
    (tmp_path / "home").mkdir()
    path = tmp_path / "home" / "train-0.parquet"
    pq.write_table(table, path, row_group_size=4)
    handler.files = {"/train-0.parquet": path.read_bytes()}
    run_index(asked([path], tmp_path / "a"), network=tiny_network())
    run_index(asked([f"{url}/train-0.parquet"], tmp_path / "b"), network=tiny_network())
    assert hashes(tmp_path / "a") == hashes(tmp_path / "b")
    assert check_index(tmp_path / "b", network=tiny_network()).discrepancies == ()


@pytest.mark.filterwarnings("ignore")  # boto3 and moto warn of each other's habits
def test_over_s3(bucket: str, tars: list[Path], at_home: Path, tmp_path: Path) -> None:
    import boto3

    client = boto3.client("s3")
    for path in tars:
        client.put_object(Bucket=bucket, Key=f"set/{path.name}", Body=path.read_bytes())
    run_index(asked([f"s3://{bucket}/set/*.tar"], tmp_path), network=tiny_network())
    check_whole(tmp_path, at_home)
