"""Commands with an OUT at an address: what they print, and what they refuse in one line."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from pipeline.cli.app import app
from tests.fixtures.small_index import build_index, build_photographs
from tests.fixtures.storage import Machines, machines

__all__ = ["machines"]

OUT = "memory://bucket/run"


@pytest.fixture(scope="module")
def at_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("home")
    return build_index(folder, data=build_photographs(folder))


@pytest.fixture
def stored(machines: Machines, at_home: Path, monkeypatch: pytest.MonkeyPatch) -> Machines:
    """A machine that has nothing yet; the index is in the storage."""
    from fsspec.implementations.memory import MemoryFileSystem

    for path in at_home.rglob("*"):
        if path.is_file():
            name = path.relative_to(at_home).as_posix()
            MemoryFileSystem().pipe_file(f"/bucket/run/{name}", path.read_bytes())
    monkeypatch.setenv("MAXACT_CACHE", str(machines.cache))
    return machines


def call(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


@pytest.mark.parametrize(
    "words",
    [
        ("sql", "OUT", "SELECT count(*) FROM images"),
        ("sql", "OUT", "SELECT count(*) FROM images", "--safe"),
        ("query", "OUT", "layer_overview"),
        ("query", "OUT", "layer_overview", "--json"),
    ],
)
def test_readers_print_the_same(stored: Machines, at_home: Path, words: tuple[str, ...]) -> None:
    found, wanted = (
        call(*(place if word == "OUT" else word for word in words)) for place in (OUT, str(at_home))
    )
    assert found.exit_code == wanted.exit_code == 0, found.output
    assert found.stdout == wanted.stdout
    assert (stored.cache / "remote").is_dir()


def test_a_second_index_may_be_at_an_address(stored: Machines, at_home: Path) -> None:
    select = "SELECT count(*) AS n FROM units JOIN other.units USING (layer, unit)"
    found = call("sql", str(at_home), select, "--with", f"other={OUT}", "--csv")
    wanted = call("sql", str(at_home), select, "--with", f"other={at_home}", "--csv")
    assert found.exit_code == 0, found.output
    assert found.stdout == wanted.stdout
    assert (stored.cache / "remote").is_dir(), "in the folder that MAXACT_CACHE names"


def test_files_are_verified_and_named_by_their_addresses(stored: Machines) -> None:
    from fsspec.implementations.memory import MemoryFileSystem

    MemoryFileSystem().rm_file("/bucket/run/top.parquet")
    found = call("check", OUT, "--files")
    assert found.exit_code == 1
    assert f"{OUT}/top.parquet is missing" in found.stdout
    assert str(stored.cache) not in found.output
    found = call("sql", OUT, "SELECT 1")
    assert found.exit_code == 1
    assert f"error: {OUT}/top.parquet is missing" in found.stderr


@pytest.mark.parametrize(
    ("out", "code", "said"),
    [
        ("memory://bucket/nothing", 2, "memory://bucket/nothing holds no index"),
        ("memory:/bucket/run", 2, "write memory://bucket/run"),
        ("s4://bucket/run", 2, "fsspec knows no s4://"),
        ("https://host/run", 2, "cannot hold an index"),
        ("s3://key:s3cr3t@bucket/run", 2, "has a user or a key in it"),
        ("s3://bucket/run?X-Amz-Signature=s3cr3t", 2, "has a query"),
        ("s3://", 2, "no address of a folder"),
    ],
)
@pytest.mark.parametrize("command", ["sql", "index", "merge"])
def test_bad_addresses_are_refused_in_one_line(
    machines: Machines,
    tmp_path: Path,
    command: str,
    out: str,
    code: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    words = {
        "sql": ("sql", out, "SELECT 1"),
        "index": ("index", "demo", "--out", out),
        "merge": ("merge", "merged", out),
    }[command]
    if command == "index" and "nothing" in out:
        return  # that is where it would be written
    found = call(*words)
    assert found.exit_code == code
    (line,) = found.stderr.strip().splitlines()
    assert line.startswith("error: ")
    assert said in line
    assert "s3cr3t" not in found.output
    assert not (tmp_path / "merged").exists()
