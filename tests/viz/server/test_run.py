"""`maxact serve` as a process: its address, bad calls in one line, and its end."""

from __future__ import annotations

import http.client
import importlib.util
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from unittest.mock import patch
from urllib.parse import urlsplit

import pytest
from typer.testing import CliRunner

from tests.fixtures.small_index import build_index
from viz.cli import app

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]


START = """
import runpy, signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
runpy.run_module("maxact", run_name="__main__", alter_sys=True)
"""


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_index(tmp_path_factory.mktemp("run"))


@contextmanager
def serving(*words: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server in a process of its own, and the address that it prints."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'viz/public'}"}
    command = [sys.executable, "-c", START, "serve", "--no-maps", *words]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


def get(address: str, path: str, **headers: str) -> tuple[int, bytes]:
    parts = urlsplit(address)
    with closing(http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=20)) as connection:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request("GET", path, headers=given)
        answer = connection.getresponse()
        return answer.status, answer.read()


def test_it_prints_its_address_serves_and_ends_with_one_line(out: Path) -> None:
    with serving(str(out), "--port", "0") as (process, address):
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/\?token=[\w-]{32}", address)
        assert get(address, "/0/index.html")[0] == 200
        assert get(address, "/0/pictures/1/3.webp")[0] == 200
        assert get(address, "/0/index.html", Host="evil.example")[0] == 403
        assert get(address, urlsplit(address).path + "?" + urlsplit(address).query)[0] == 303
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=20)
        assert process.returncode == 130
        lines = [line for line in told.splitlines() if line]
        assert lines[0] == "Ctrl-C ends the server"
        assert len(lines) == 2
        assert lines[1].startswith("stopped")


def test_an_open_stream_does_not_keep_it(out: Path) -> None:
    """A browser that never closes its connection."""
    with serving(str(out), "--port", "0") as (process, address):
        parts = urlsplit(address)
        with socket.create_connection((parts.hostname, parts.port)) as connection:
            connection.sendall(b"GET /0/index.html HTTP/1.1\r\n")
            started = time.monotonic()
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=20)
            assert time.monotonic() - started < 10
            assert process.returncode == 130


def post(address: str, path: str, body: str) -> http.client.HTTPConnection:
    """Send a form with the token, and do not wait for an answer."""
    parts = urlsplit(address)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=20)
    token = parts.query.partition("=")[2]
    headers = {
        "Authorization": f"Bearer {token}",
        "Content-Type": "application/x-www-form-urlencoded",
        "Accept": "application/json",
    }
    connection.request("POST", path, body, headers)
    return connection


def test_queries_renderings_and_streams_end_with_it(tiny_out: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_out, tmp_path / "index")
    words = [str(tmp_path / "index"), "--port", "0", "--network", "tests.fixtures.tiny:factory"]
    with serving(*words) as (process, address):
        body = "recipe=fourier&steps=1000000"
        with closing(post(address, "/0/unit/0/3/render", body)) as rendering:
            assert rendering.getresponse().read() == b'{"job":1}'
        endless = "sql=SELECT+count(*)+FROM+range(10000000000)+a,range(1000)+b"
        with (
            closing(post(address, "/0/query.html", endless)),
            closing(http.client.HTTPConnection("127.0.0.1", urlsplit(address).port, timeout=20)) as stream,
        ):
            stream.request("GET", "/0/jobs/1/events")
            answer = stream.getresponse()
            while b"step" not in answer.readline():
                pass
            time.sleep(1)
            started = time.monotonic()
            process.send_signal(signal.SIGINT)
            _, told = process.communicate(timeout=20)
        assert time.monotonic() - started < 5
        assert process.returncode == 130
        assert len([line for line in told.splitlines() if line]) == 2, told
    assert not [*(tmp_path / "index").rglob("*.checkpoint"), *(tmp_path / "index").rglob("*.tmp")]


def test_requests_that_are_no_http_are_survived(out: Path) -> None:
    with serving(str(out), "--port", "0") as (_, address):
        parts = urlsplit(address)
        for data in (
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
            b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\n\r\n",
            b"POST /0/query.html HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n",
            b"GET / HTTP/1.0\r\n\r\n",
        ):
            with socket.create_connection((parts.hostname, parts.port), timeout=20) as connection:
                connection.sendall(data)
                connection.shutdown(socket.SHUT_WR)
                answer = connection.recv(1 << 16)
                assert not answer or answer.split()[1] in (b"400", b"403"), data[:40]
        assert get(address, "/0/index.html")[0] == 200


def refused(*words: str) -> str:
    """The only line of a call that is refused."""
    with patch("uvicorn.Server.run", side_effect=AssertionError("it was not refused")):
        result = CliRunner().invoke(app, ["serve", *words])
    assert result.exit_code == 2, result.stderr
    assert not result.stdout
    (line,) = result.stderr.splitlines()
    return line


def test_a_port_in_use_is_one_line(out: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        line = refused(str(out), "--port", str(port), "--no-maps")
    assert line.startswith(f"error: port {port} is in use; choose another with --port")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("{out} {out}", "is the same folder as"),
        ("{out} {link}", "is the same folder as"),
        ("{folder}", "error: "),
        ("{out}/missing", "error: "),
        ("{out} --host no.such.name.invalid", "is no name or address"),
        ("{out} --host 203.0.113.7", "cannot listen on 203.0.113.7"),
        ("{out} {copy} --data x", "are for one index"),
        ("{out} --network no-such-network", "no-such-network"),
        ("{out} --data {folder}", "error: "),
    ],
)
def test_what_cannot_be_served_is_one_line(out: Path, tmp_path: Path, words: str, message: str) -> None:
    places = {"out": out, "folder": tmp_path / "folder", "link": tmp_path / "link", "copy": tmp_path / "copy"}
    places["folder"].mkdir()
    places["link"].symlink_to(out)
    shutil.copytree(out, places["copy"])
    given = words.format(**places).split()
    assert message in refused(*given, "--port", "0")


@pytest.mark.parametrize("package", ["starlette", "uvicorn", "python_multipart"])
def test_a_missing_extra_is_one_line(out: Path, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == package else found(name))
    line = refused(str(out), "--port", "0", "--no-maps")
    assert package in line
    assert "pip install 'maxact[serve]'" in line


def test_the_help_starts_without_the_extra() -> None:
    code = "import sys, viz.cli; print({'starlette', 'uvicorn'} & {*sys.modules})"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"
