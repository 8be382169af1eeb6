"""The options of clusters and of progress for programs, as a user types them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.fixtures.commands import done, refused, run
from tests.fixtures.tiny import write_tars

SIZES = [9, 14]

FACTORY = """
import torch
from torch import nn
from pipeline.images.preprocess import Preprocess


def factory():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.ReLU()), Preprocess(16, 16, 16)
"""


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("network") / "net.py"
    path.write_text(FACTORY)
    return f"{path}:factory"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_tars(folder, SIZES)
    return folder


def words(data: Path, out: Path, network: str) -> list[object]:
    own = ["--network", network, "--layers", "1", "--out", out, "--compile", "off", "--device", "cpu"]
    return ["index", data, *own]


def written(out: Path) -> list[Path]:
    return sorted(path for path in out.rglob("*") if path.suffix != ".lock")


def test_progress_for_programs_is_an_object_a_line(data: Path, network: str, tmp_path: Path) -> None:
    result = done(*words(data, tmp_path / "out", network), "--json-progress")
    records = [json.loads(line) for line in result.stderr.splitlines()]
    assert {record["event"] for record in records} == {"note", "progress"}
    for record in records:
        if record["event"] == "note":
            assert record.keys() == {"event", "text"}
            continue
        told = ("event", "task", "done", "total", "unit", "per_second", "seconds", "seconds_left")
        assert tuple(record)[: len(told)] == told
        assert record["done"] >= 0
        assert record["total"] is None or record["done"] <= record["total"]
        assert record["per_second"] >= 0
        assert record["seconds_left"] is None or record["seconds_left"] >= 0
    indexing = [record for record in records if record.get("task") == "indexing"]
    assert indexing[-1]["done"] == indexing[-1]["total"] == sum(SIZES)
    assert indexing[-1]["unit"] == "images"
    assert indexing[-1]["seconds_left"] == 0


def test_an_error_stays_a_line_of_text(data: Path, network: str, tmp_path: Path) -> None:
    result = run(*words(data, tmp_path / "out", network), "--json-progress", "--layers", "nowhere")
    assert "nowhere" in refused(result, 2)
    for line in result.stderr.splitlines():
        assert line.startswith("error: ") or json.loads(line)["event"] in ("note", "progress")


@pytest.mark.parametrize("command", ["index", "render", "atlas"])
def test_a_cluster_without_ray_is_refused(
    command: str, data: Path, network: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    call = words(data, out, network)
    if command != "index":
        done(*call)
        chosen = ["--layer", "1", "--units", "0"] if command == "render" else ["--layer", "1"]
        call = [command, out, *chosen, "--network", network]
    before = written(out)
    monkeypatch.setitem(sys.modules, "ray", None)
    line = refused(run(*call, "--engine", "ray"), 2)
    assert line == ("error: --engine ray needs Ray, which is not installed; run `pip install 'maxact[ray]'`")
    assert written(out) == before
