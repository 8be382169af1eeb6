"""What is measured of usual photographs is measured once, and again where its file is damaged."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from pipeline.query.index import open_index
from tests.fixtures.commands import done
from tests.fixtures.tables import edit_run
from tests.fixtures.tiny import tiny_network, write_tars
from viz.ascent.moments import Moments
from viz.ascent.sorted_features import SortedFeatures
from viz.ascent.usual import Usual
from viz.inputs.kept import FOLDER, Kept, keep_for
from viz.server.live_atlas import LiveOptions


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
    again = Usual.read(usual.tensors(), lambda key: kind)
    assert list(again.norm) == list(usual.norm)
    assert again.tensors().keys() == usual.tensors().keys()
    for name, tensor in usual.tensors().items():
        assert torch.equal(again.tensors()[name], tensor)


WORDS = ("--network", "tests.fixtures.tiny:factory", "--compile", "off", "--top", "8")
DRAW = ("--layer", "second", "--units", "0", "--steps", "1", "--no-path", "--device", "cpu")


@pytest.mark.slow
def test_the_cache_of_the_call_wins_over_that_of_the_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And without one, that of a trusted index over the user's."""
    out, made, home = tmp_path / "out", tmp_path / "made", tmp_path / "home"
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("MAXACT_CACHE", str(made))
    tars = write_tars(tmp_path / "data", [40])
    done("index", *tars, "-o", out, *WORDS, "--layers", "first", "--layers", "second")
    monkeypatch.setenv("MAXACT_CACHE", str(tmp_path / "call"))
    done("render", out, *DRAW)
    assert list((tmp_path / "call" / FOLDER).iterdir())
    assert not (made / FOLDER).exists()
    monkeypatch.delenv("MAXACT_CACHE")
    done("render", out, *DRAW, "--seed", "1")
    assert list((made / FOLDER).iterdir())
    with open_index(out) as index:
        network = tiny_network()
        assert keep_for(network, index).folder == made / FOLDER
        assert keep_for(network, index, home).folder == home / FOLDER
    edit_run(out, lambda run: run.pop("signature"))
    with open_index(out) as index:
        assert keep_for(network, index).folder == home / ".cache" / "maxact" / FOLDER


def test_a_server_renders_with_the_cache_of_its_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options: list[LiveOptions] = []
    monkeypatch.setattr(
        "viz.server.run.serve_indexes", lambda outs, binding, given, **_: options.append(given)
    )
    monkeypatch.setenv("MAXACT_CACHE", str(tmp_path))
    done("serve", tmp_path)
    assert options[0].cache == tmp_path
