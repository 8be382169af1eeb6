"""One function finds the device for every command, in one wording."""

from __future__ import annotations

import pytest
import torch

from pipeline.devices import find_device
from pipeline.errors import DeviceError


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
