"""One function finds the device for every command, in one wording."""

from __future__ import annotations

import json
import platform
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from pipeline.cli.app import app
from pipeline.devices import find_device, tell_of_bf16
from pipeline.errors import DeviceError
from tests.fixtures.tiny import write_tars


@pytest.mark.parametrize(("cuda", "found"), [(False, "cpu"), (True, "cuda")])
def test_auto_is_cuda_where_there_is_one(monkeypatch: pytest.MonkeyPatch, cuda: bool, found: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    assert find_device("auto").type == found
    assert find_device("cpu").type == "cpu"


@pytest.mark.parametrize("name", ["cuda", "mps"])
def test_a_device_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: name != "cuda")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: name != "mps")
    other = "mps" if name == "cuda" else "cuda"
    with pytest.raises(DeviceError, match=f"--device {name}: .* finds no such device; use {other} or cpu"):
        find_device(name)  # type: ignore[arg-type]
    assert find_device(other).type == other


WITH, WITHOUT = {"avx512_bf16": True}, {"avx2": True}


@pytest.mark.parametrize(
    ("able", "asked", "recorded", "told"),
    [
        (WITH, "fp32", "fp32", None),
        (WITH, "bf16", "bf16", None),
        (WITH, "auto", "bf16", None),
        (WITHOUT, "fp32", "fp32", None),
        (WITHOUT, "bf16", "bf16", "precision bf16: this processor has no bf16 instructions"),
        (WITHOUT, "auto", "fp32", "going on in fp32"),
    ],
)
def test_auto_is_bf16_where_the_processor_computes_in_it_and_bf16_insists(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    able: dict[str, bool],
    asked: str,
    recorded: str,
    told: str | None,
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able)
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    (data,) = write_tars(tmp_path / "data", [4])
    words = ["index", str(data), "--network", "tests.fixtures.tiny:factory", "--compile", "off"]
    given = [*words, "-o", str(tmp_path / "out"), "--device", "cpu", "--precision", asked]
    result = CliRunner().invoke(app, given)
    assert result.exit_code == 0
    lines = [line for line in result.stderr.splitlines() if "7 to 12 times as long as fp32" in line]
    assert len(lines) == (told is not None)
    assert all(told in line for line in lines if told)
    run = json.loads((tmp_path / "out" / "run.json").read_text())
    assert run["config"]["precision"] == run["fields"]["precision"] == recorded
    again = CliRunner().invoke(app, [*words, "-o", str(tmp_path / "out"), "--precision", recorded])
    assert "is complete; nothing to do" in again.stderr, "the same run, named or found"


def test_other_processors_and_devices_are_not_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert tell_of_bf16("bf16", torch.device("cpu")) is None
    assert tell_of_bf16("bf16", torch.device("mps")) is None
