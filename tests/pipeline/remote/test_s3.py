"""OUT on a local S3 server: with its own errors, behind a proxy that stutters, and with killed commands."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.check.audit import check_index
from pipeline.errors import MaxactError, StoreError, UnreadableFile, WrongFolder
from pipeline.query.index import open_index
from pipeline.remote.local import local_folder, release
from pipeline.runs.merge import merge_runs
from pipeline.runs.run import run_index
from pipeline.store.schemas import SCHEMAS
from tests.fixtures.runs import config, hashes
from tests.fixtures.serving import bucket
from tests.fixtures.storage import SIZES, Machines, machines
from tests.fixtures.stuttering import stuttering
from tests.fixtures.tiny import tiny_network

__all__ = ["bucket", "machines"]

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # boto3 and moto warn of each other

SECRET = "7oPs3cReT"


@pytest.fixture(autouse=True)
def quick(bucket: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Short pauses, no attempts of the library's own, and nothing of an earlier server."""
    import boto3
    import s3fs

    for each in boto3.resource("s3").Bucket(bucket).objects.all():
        each.delete()  # moto keeps them as long as the process

    monkeypatch.setattr("pipeline.remote.attempts.FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    yield
    s3fs.S3FileSystem.clear_instance_cache()


def index(tars: list[Path], out: str, **changes: Any) -> Any:
    return run_index(config(tars, out, shards_per_part=1, **changes), network=tiny_network())  # type: ignore[arg-type]


def stored(bucket: str, prefix: str = "run") -> dict[str, bytes]:
    import boto3

    client = boto3.client("s3")
    listed = client.list_objects_v2(Bucket=bucket, Prefix=f"{prefix}/").get("Contents", [])
    return {
        each["Key"].removeprefix(f"{prefix}/"): client.get_object(Bucket=bucket, Key=each["Key"])[
            "Body"
        ].read()
        for each in listed
    }


def same_tables(found: dict[str, bytes], out: Path) -> bool:
    return all(found[f"{name}.parquet"] == (out / f"{name}.parquet").read_bytes() for name in SCHEMAS)


def go_behind(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import s3fs

    monkeypatch.setenv("AWS_ENDPOINT_URL", url)
    s3fs.S3FileSystem.clear_instance_cache()
    release()


def test_index_resume_merge_and_readers(
    bucket: str, machines: Machines, tars: list[Path], at_home: Path
) -> None:
    out = f"s3://{bucket}/run"
    index(tars[:2], f"s3://{bucket}/a/")
    machines.change()
    index(tars[2:], f"s3://{bucket}/b")
    machines.change()
    merge_runs(out, [f"s3://{bucket}/a", f"s3://{bucket}/b/"])
    assert same_tables(stored(bucket), at_home)
    machines.change()
    assert index(tars, out).resumed_shards == len(SIZES)
    machines.change()
    with open_index(out) as opened, open_index(at_home) as home:
        assert opened.top("second", 1) == home.top("second", 1)
        assert opened.sql("SELECT count(*) FROM images").rows == home.sql("SELECT count(*) FROM images").rows
    assert check_index(out, network=tiny_network()).discrepancies == ()


def test_listings_of_fsspec_are_not_believed(bucket: str, machines: Machines) -> None:
    import boto3

    client = boto3.client("s3")
    client.put_object(Bucket=bucket, Key="run/run.json", Body=b"old")
    folder = local_folder(f"s3://{bucket}/run", "*", "parts/*")
    assert not (folder / "parts").exists()
    client.put_object(Bucket=bucket, Key="run/run.json", Body=b"new")
    client.put_object(Bucket=bucket, Key="run/parts/0123456789abcdef.json", Body=b"{}")
    local_folder(folder, "*", "parts/*")
    assert (folder / "run.json").read_bytes() == b"new"
    assert (folder / "parts" / "0123456789abcdef.json").exists()


def test_a_server_that_stutters_changes_nothing(
    bucket: str, machines: Machines, tars: list[Path], at_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds = ["503", "500", "cut before", "cut after", "silent"]

    def choose(method: str, path: str, number: int) -> str:
        return kinds[number // 3 % len(kinds)] if number % 3 == 1 else ""

    with stuttering(os.environ["AWS_ENDPOINT_URL"], choose) as (url, proxy):
        with monkeypatch.context() as patch:
            go_behind(url, patch)
            index(tars, f"s3://{bucket}/run")
            machines.change()
            with open_index(f"s3://{bucket}/run") as opened, open_index(at_home) as home:
                assert opened.top("second", 1) == home.top("second", 1)
            assert proxy.faults > 20
        go_behind(os.environ["AWS_ENDPOINT_URL"], monkeypatch)
        assert same_tables(stored(bucket), at_home)


def test_a_connection_that_is_always_cut_in_a_put_ends_the_run_and_the_next_one_finishes_it(
    bucket: str, machines: Machines, tars: list[Path], at_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = f"s3://{bucket}/run"

    def choose(method: str, path: str, number: int) -> str:
        return "cut before" if method == "PUT" and "top.parquet" in path else ""

    with stuttering(os.environ["AWS_ENDPOINT_URL"], choose) as (url, _), monkeypatch.context() as patch:
        go_behind(url, patch)
        with pytest.raises(UnreadableFile, match=rf"{out}/top.parquet cannot be written, tried 6 times"):
            index(tars, out)
    go_behind(os.environ["AWS_ENDPOINT_URL"], monkeypatch)
    assert "top.parquet" not in stored(bucket)
    machines.change()
    with pytest.raises(StoreError, match="not finished"):
        open_index(out)
    assert index(tars, out).resumed_shards == len(SIZES)
    assert same_tables(stored(bucket), at_home)


def test_what_the_server_refuses_is_one_line(
    bucket: str, machines: Machines, tars: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(WrongFolder, match=r"s3://nowhere/run cannot be listed.*give a bucket that exists"):
        index(tars, "s3://nowhere/run")
    with pytest.raises(WrongFolder, match=rf"s3://{bucket}/run holds no index"):
        open_index(f"s3://{bucket}/run")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    go_behind(os.environ["AWS_ENDPOINT_URL"], monkeypatch)
    with pytest.raises(StoreError, match="Unable to locate credentials; check the credentials") as caught:
        open_index(f"s3://{bucket}/run")
    assert caught.value.exit_code == 1


def test_credentials_are_nowhere(
    bucket: str,
    machines: Machines,
    tars: list[Path],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_SESSION_TOKEN", f"token-{SECRET}")
    go_behind(os.environ["AWS_ENDPOINT_URL"], monkeypatch)
    index(tars, f"s3://{bucket}/run")
    assert not any(SECRET.encode() in data for data in stored(bucket).values())
    assert not any(SECRET in name for name in stored(bucket))
    for path in machines.cache.rglob("*"):
        assert SECRET not in str(path)
        assert not path.is_file() or SECRET.encode() not in path.read_bytes()

    def choose(method: str, path: str, number: int) -> str:
        return "500"

    with stuttering(os.environ["AWS_ENDPOINT_URL"], choose) as (url, _), monkeypatch.context() as patch:
        go_behind(url, patch)
        with pytest.raises(MaxactError) as caught:
            open_index(f"s3://{bucket}/run")
    assert SECRET not in str(caught.value)
    assert SECRET not in "".join(capfd.readouterr())


PROGRAM = """
import sys
from pathlib import Path
from tests.fixtures.runs import config
from tests.fixtures.tiny import tiny_network
from pipeline.runs.run import run_index
*tars, out, cache = sys.argv[1:]
asked = config([Path(tar) for tar in tars], out, shards_per_part=1, cache=Path(cache))
run_index(asked, network=tiny_network())
"""


@pytest.mark.thorough
@pytest.mark.parametrize("seconds", [0.1, 0.5])
def test_a_killed_command_is_finished_by_the_next_machine(
    bucket: str, machines: Machines, tars: list[Path], at_home: Path, tmp_path: Path, seconds: float
) -> None:
    out = f"s3://{bucket}/run"
    words = [sys.executable, "-c", PROGRAM, *map(str, tars), out, str(tmp_path / "killed")]
    killed = subprocess.Popen(words, env={**os.environ, "OMP_NUM_THREADS": "1"})
    while killed.poll() is None and "run.json" not in stored(bucket):
        time.sleep(0.02)
    time.sleep(seconds)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    index(tars, out)
    assert same_tables(stored(bucket), at_home)
    assert {name for name in stored(bucket) if name.startswith("parts/")} == {
        path.relative_to(at_home).as_posix() for path in (at_home / "parts").rglob("*") if path.is_file()
    }


@pytest.mark.thorough
def test_two_commands_at_the_same_time_leave_one_index(
    bucket: str, machines: Machines, tars: list[Path], at_home: Path, tmp_path: Path
) -> None:
    out = f"s3://{bucket}/run"
    words = [sys.executable, "-c", PROGRAM, *map(str, tars), out]
    both = [
        subprocess.Popen([*words, str(tmp_path / name)], env={**os.environ, "OMP_NUM_THREADS": "1"})
        for name in ("one", "two")
    ]
    assert [each.wait(120) for each in both] == [0, 0]
    assert same_tables(stored(bucket), at_home)
    with open_index(out) as opened:
        assert hashes(opened.out) == hashes(at_home)
