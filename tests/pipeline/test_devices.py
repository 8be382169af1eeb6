"""One function finds the device for every command, in one wording."""

from __future__ import annotations

import json
import platform
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from pipeline.cli.app import app
from pipeline.devices import find_device, warn_of_bf16
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


@pytest.mark.parametrize(("able", "told"), [({"avx512_bf16": True}, False), ({"avx2": True}, True)])
def test_bf16_without_instructions_for_it_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, able: dict[str, bool], told: bool
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able)
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    (data,) = write_tars(tmp_path / "data", [4])
    words = ["index", str(data), "--network", "tests.fixtures.tiny:factory", "--compile", "off"]
    for precision in ("fp32", "bf16"):
        given = [*words, "-o", str(tmp_path / precision), "--device", "cpu", "--precision", precision]
        result = CliRunner().invoke(app, given)
        assert result.exit_code == 0
        lines = [line for line in result.stderr.splitlines() if "7 to 12 times as long as fp32" in line]
        assert len(lines) == (told and precision == "bf16")
        run = json.loads((tmp_path / precision / "run.json").read_text())
        assert run["config"]["precision"] == precision, "what was asked for is kept"


def test_other_processors_and_devices_are_not_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert warn_of_bf16(torch.device("cpu")) is None
    assert warn_of_bf16(torch.device("mps")) is None
