"""What is measured of usual photographs is measured once, and again where its file is damaged."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from viz.ascent.moments import Moments
from viz.ascent.sorted_features import SortedFeatures
from viz.ascent.usual import Usual
from viz.inputs.kept import Kept


class Measure:
    """Counts how often it is asked."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> dict[str, Tensor]:
        self.calls += 1
        return {"a": torch.arange(3.0), "b": torch.tensor(self.calls)}


def test_a_key_is_measured_once_in_a_process_and_once_in_a_folder(tmp_path: Path) -> None:
    measure = Measure()
    first, second = Kept(tmp_path, "index"), Kept(tmp_path, "index")
    found = [kept("key", measure) for kept in (first, first, second)]
    assert measure.calls == 1
    assert all(torch.equal(each["a"], torch.arange(3.0)) for each in found)


def test_other_keys_and_other_indexes_are_measured_anew(tmp_path: Path) -> None:
    measure = Measure()
    for identity, key in (("index", "key"), ("index", "other"), ("other", "key")):
        Kept(tmp_path, identity)(key, measure)
    assert measure.calls == 3
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize("damage", [b"", b"no archive", None])
def test_damaged_files_are_measured_again(tmp_path: Path, damage: bytes | None) -> None:
    measure = Measure()
    Kept(tmp_path, "index")("key", measure)
    (file,) = tmp_path.iterdir()
    data = file.read_bytes()
    middle = len(data) // 2
    file.write_bytes(
        data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :] if damage is None else damage
    )
    assert int(Kept(tmp_path, "index")("key", measure)["b"]) == 2
    assert int(Kept(tmp_path, "index")("key", measure)["b"]) == 2


def test_without_a_folder_that_can_be_written_it_is_kept_in_memory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder in (None, tmp_path / "file" / "below"):
        measure = Measure()
        kept = Kept(folder, "index")
        assert kept("key", measure) is kept("key", measure)
        assert measure.calls == 1


@pytest.mark.parametrize("kind", [Moments, SortedFeatures])
def test_usual_statistics_come_back_as_they_were(kind: type[Moments | SortedFeatures]) -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.full((4, 4), 1 / 16)
    statistics = {
        name: kind.of(torch.randn(5, 3, 4, 4, generator=generator), weight)
        for name in ("a.b", "close-up of a/b")
    }
    usual = Usual.of(statistics, torch.randn(5, 3, generator=generator))
    again = Usual.read(usual.tensors(), kind)
    assert list(again.norm) == list(usual.norm)
    assert again.tensors().keys() == usual.tensors().keys()
    for name, tensor in usual.tensors().items():
        assert torch.equal(again.tensors()[name], tensor)
