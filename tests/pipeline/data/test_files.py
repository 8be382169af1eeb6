"""Range reads of local and remote files, with transient and permanent failures."""

from __future__ import annotations

import asyncio
import http.client
import io
import sys
from pathlib import Path

import aiohttp
import botocore.exceptions
import pytest
import urllib3

from pipeline.data import files as remote
from pipeline.data.dataset import Sample, open_dataset
from pipeline.data.files import RangeReader, expand
from pipeline.data.retry import TRANSIENT, is_transient, retrying
from pipeline.errors import ShardError, SourceError
from tests.fixtures.corpus import PNG, named, tar
from tests.fixtures.serving import Files, server

__all__ = ["server"]


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Record the pauses instead of waiting."""
    made: list[float] = []
    monkeypatch.setattr("time.sleep", made.append)
    return made


class Status(Exception):
    def __init__(self, status: int) -> None:
        super().__init__(f"status {status}")
        self.status = status


def test_what_a_library_says_of_a_dataset_is_one_line_without_credentials() -> None:
    def action() -> None:
        raise ValueError("no answer\nfrom https://me:pw@host/x?X-Amz-Signature=abcdef&y=1")

    with pytest.raises(SourceError) as caught:
        retrying(action, "x")
    assert str(caught.value) == (
        "x cannot be read: no answer from https://...@host/x?X-Amz-Signature=...&y=1"
    )


def test_a_read_that_fails_for_a_while_is_repeated(pauses: list[float]) -> None:
    cut_off = botocore.exceptions.ResponseStreamingError(error="cut off")  # no OSError
    failures = iter([OSError("reset"), TimeoutError(), cut_off, Status(503)])

    def action() -> str:
        for failure in failures:
            raise failure
        return "data"

    assert retrying(action, "x") == "data"
    assert pauses == [0.5, 1, 2, 4]


def test_a_read_that_keeps_failing_says_so(pauses: list[float]) -> None:
    def action() -> None:
        raise OSError("the disk is on fire")

    with pytest.raises(SourceError, match="x cannot be read, tried 5 times: the disk is on fire"):
        retrying(action, "x")
    assert len(pauses) == 4


class ConnectTimeoutError(Exception):
    """Named as a transient error, but of no library's type."""


@pytest.mark.parametrize(
    "error",
    [
        aiohttp.ClientPayloadError("cut off"),
        aiohttp.ServerDisconnectedError(),
        asyncio.IncompleteReadError(b"", 5),
        botocore.exceptions.ConnectionClosedError(endpoint_url="https://x"),
        botocore.exceptions.EndpointConnectionError(endpoint_url="https://x"),
        botocore.exceptions.IncompleteReadError(actual_bytes=1, expected_bytes=2),
        botocore.exceptions.ReadTimeoutError(endpoint_url="https://x"),
        http.client.IncompleteRead(b""),
        urllib3.exceptions.ReadTimeoutError(None, "https://x", "too late"),
        urllib3.exceptions.ProtocolError("cut off"),
    ],
    ids=lambda error: f"{type(error).__module__}.{type(error).__name__}",
)
def test_interrupted_connections_are_transient(error: Exception) -> None:
    assert is_transient(error)


def test_libraries_that_are_not_imported_are_not_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in TRANSIENT:
        monkeypatch.delitem(sys.modules, module, raising=False)
    assert is_transient(OSError("reset"))
    assert not is_transient(KeyError("a fault of ours"))


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError(),
        PermissionError("no"),
        Status(404),
        botocore.exceptions.NoCredentialsError(),
        ConnectTimeoutError(),
    ],
)
def test_a_lasting_failure_is_not_repeated(error: Exception, pauses: list[float]) -> None:
    def action() -> None:
        raise error

    with pytest.raises(SourceError, match=r"does not exist|cannot be read"):
        retrying(action, "x")
    assert not pauses


def test_a_not_found_that_hides_a_server_error_is_transient() -> None:
    error = FileNotFoundError("x")
    assert not is_transient(error)
    error.__cause__ = Status(502)
    assert is_transient(error)


DATA = bytes(range(256)) * 40


def reader(buffer: int, fetch: object = None) -> io.BufferedReader:
    raw = RangeReader(fetch or (lambda start, end: DATA[start:end]), len(DATA), "x")  # type: ignore[arg-type]
    return io.BufferedReader(raw, buffer)


@pytest.mark.parametrize("buffer", [16, 1000, 1 << 20])
def test_a_range_reader_reads_like_a_file(buffer: int) -> None:
    plain, ranged = io.BytesIO(DATA), reader(buffer)
    for seek, count in ((0, 10), (5000, 3000), (4999, 1), (10_239, 50), (20_000, 5), (7, -1)):
        plain.seek(seek)
        ranged.seek(seek)
        assert ranged.read(count) == plain.read(count)
        assert ranged.tell() == plain.tell()
    assert ranged.seek(-5, io.SEEK_END) == plain.seek(-5, io.SEEK_END)
    assert ranged.read() == plain.read()


def test_a_short_range_read_is_retried(pauses: list[float]) -> None:
    asked: list[tuple[int, int]] = []

    def fetch(start: int, end: int) -> bytes:
        asked.append((start, end))
        return DATA[start : end - (len(asked) < 3)]

    assert reader(64, fetch).read(64) == DATA[:64]
    assert asked == [(0, 64)] * 3


def test_braces_and_globs_are_expanded(tmp_path: Path) -> None:
    for number in range(12):
        (tmp_path / f"a-{number:02}.tar").write_bytes(b"")
    assert len(expand(f"{tmp_path}/a-{{00..11}}.tar")) == 12
    assert len(expand(f"{tmp_path}/a-*.tar")) == 12
    assert len(expand(f"{tmp_path}/a-0?.tar")) == 10
    assert expand("s3://b/{x,y}.tar") == ["s3://b/x.tar", "s3://b/y.tar"]
    assert expand("https://host/a.tar?part=1") == ["https://host/a.tar?part=1"]
    with pytest.raises(SourceError, match="no file matches"):
        expand(f"{tmp_path}/b-*.tar")
    with pytest.raises(SourceError, match="Unbalanced braces"):
        expand(f"{tmp_path}/a-{{00..11.tar")
    odd = tmp_path / "a[1]{x}.tar"
    odd.write_bytes(b"")
    assert expand(str(odd)) == [str(odd)]


def shards() -> dict[str, bytes]:
    return {
        f"/set/a-{part}.tar": tar([m for key in "abc" for m in named(f"{part}/{key}", "cat")])
        for part in range(3)
    }


def check_all(url: str) -> None:
    dataset = open_dataset([url])
    assert [shard.name for shard in dataset.shards] == ["a-0.tar", "a-1.tar", "a-2.tar"]
    keys = []
    for shard in dataset.shards:
        for sample in shard.samples():
            assert isinstance(sample, Sample)
            assert sample.data == PNG
            assert sample.label == "cat"
            assert dataset.read(shard.name, sample.key, sample.offset, len(PNG)) == PNG
            keys.append(sample.key)
    assert keys == [f"{part}/{key}" for part in range(3) for key in "abc"]
    assert dataset.estimated_images == 9


def test_tars_over_http(server: tuple[str, type[Files]], monkeypatch: pytest.MonkeyPatch) -> None:
    url, handler = server
    handler.files = shards()
    monkeypatch.setattr(remote, "REMOTE_BLOCK", 700)
    check_all(f"{url}/set/a-{{0..2}}.tar")


def test_transient_http_errors_are_retried(
    server: tuple[str, type[Files]], pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, handler = server
    handler.files, handler.fail_every = shards(), 4
    monkeypatch.setattr(remote, "REMOTE_BLOCK", 4000)
    check_all(f"{url}/set/a-{{0..2}}.tar")
    assert pauses


def test_http_errors_are_reported(server: tuple[str, type[Files]], pauses: list[float]) -> None:
    url, handler = server
    handler.files = shards()
    with pytest.raises(SourceError, match=r"a-9.tar does not exist"):
        open_dataset([f"{url}/set/a-9.tar"])
    whole = handler.files["/set/a-0.tar"]
    handler.files = {"/cut.tar": whole[:3000], "/set/a-0.tar": whole}
    with pytest.raises(ShardError, match=r"shard cut.tar: does not end .*3,000 bytes"):
        list(open_dataset([f"{url}/cut.tar"]).shards[0].samples())
    handler.ranges = False
    dataset = open_dataset([f"{url}/set/a-0.tar"])
    with pytest.raises(ShardError, match="ignores range requests"):
        dataset.read("a-0.tar", "0/a", 512, 100)


def test_a_tar_that_becomes_shorter_fails(tmp_path: Path, pauses: list[float]) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(tar([m for key in "abcdefgh" for m in named(key)]))
    dataset = open_dataset([str(path)])
    path.write_bytes(path.read_bytes()[:4000])
    with pytest.raises(ShardError, match=r"shard a.tar: .*received \d+ of \d+ bytes"):
        list(dataset.shards[0].samples())


def test_a_transient_read_error_is_not_a_bad_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pauses: list[float]
) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.png").write_bytes(PNG)
    calls = 0
    original = remote._read_local

    def flaky(path: str, start: int, nbytes: int) -> bytes:
        nonlocal calls
        calls += 1
        if calls % 2:
            raise OSError(5, "Input/output error")
        return original(path, start, nbytes)

    monkeypatch.setattr(remote, "_read_local", flaky)
    samples = list(open_dataset([str(tmp_path)]).shards[0].samples())
    assert [type(sample) for sample in samples] == [Sample, Sample]
    assert pauses == [0.5, 0.5]

    def broken(path: str, start: int, nbytes: int) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(remote, "_read_local", broken)
    with pytest.raises(ShardError, match="tried 5 times"):
        list(open_dataset([str(tmp_path)]).shards[0].samples())


def test_an_unreachable_server_is_reported(pauses: list[float]) -> None:
    with pytest.raises(SourceError, match=r"tried 5 times: .*onnect"):
        open_dataset(["http://127.0.0.1:9/a.tar"])


def test_unknown_protocols_are_rejected() -> None:
    with pytest.raises(SourceError, match=r"cannot open gopher://x/a.tar"):
        open_dataset(["gopher://x/a.tar"])
