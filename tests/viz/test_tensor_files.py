"""Files of tensors are read as they were written, or not at all."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import torch

from viz.tensor_files import load_tensors, save_tensors

CPU = torch.device("cpu")
CONTENT = {"codes": torch.arange(6.0), "names": ["a", "b"]}


def test_a_changed_byte_anywhere_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "deeper" / "a.pt"
    save_tensors(path, CONTENT)
    assert torch.equal(load_tensors(path, CPU)["codes"], CONTENT["codes"])
    assert torch.load(path, weights_only=True)["names"] == ["a", "b"], "torch reads it as well"
    data = path.read_bytes()
    for offset in range(0, len(data), 7):
        changed = bytearray(data)
        changed[offset] ^= 1
        path.write_bytes(changed)
        with pytest.raises(ValueError, match=r"."):
            load_tensors(path, CPU)


def test_a_file_without_a_digest_is_read(tmp_path: Path) -> None:
    stream = io.BytesIO()
    torch.save(CONTENT, stream)
    (tmp_path / "a.pt").write_bytes(stream.getvalue())
    assert load_tensors(tmp_path / "a.pt", CPU)["names"] == ["a", "b"]


def test_a_file_that_holds_something_else_is_refused(tmp_path: Path) -> None:
    torch.save([1, 2], tmp_path / "a.pt")
    with pytest.raises(ValueError, match="it holds no dictionary"):
        load_tensors(tmp_path / "a.pt", CPU)


def test_damage_to_a_file_of_an_earlier_version_is_noticed(tmp_path: Path) -> None:
    """It has no digest, but checksums of its own, which torch does not compare."""
    torch.save({"codes": torch.full((64,), 7.0)}, tmp_path / "a.pt")
    data = (tmp_path / "a.pt").read_bytes()
    place = data.index(torch.full((64,), 7.0).numpy().tobytes())
    (tmp_path / "a.pt").write_bytes(data[:place] + b"\1" + data[place + 1 :])
    assert torch.load(tmp_path / "a.pt", weights_only=True)["codes"][0] != 7
    with pytest.raises(ValueError, match="its checksums do not match, at "):
        load_tensors(tmp_path / "a.pt", CPU)
