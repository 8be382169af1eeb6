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
