"""`--keep peaks`: the matrix is that of an oracle, whatever the groups, and lists are what it ranks."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.check.audit import check_index
from pipeline.check.files import check_files
from pipeline.choices import Side
from pipeline.errors import ActivationError, DamagedFile, FingerprintMismatch, UsageError
from pipeline.images.decode import decode
from pipeline.networks.network import Network
from pipeline.progress import Silent
from pipeline.query.index import Index, open_index
from pipeline.runs.merge import merge_runs
from pipeline.runs.repair import repair_index
from pipeline.runs.run import run_index
from pipeline.state.commit import list_commits
from pipeline.state.commit_file import write_commit
from pipeline.store.files import sha256_file
from pipeline.store.peak_files import PeakSpill
from pipeline.store.run_file import read_run
from tests.fixtures.complete_index import flip
from tests.fixtures.runs import K, config, hashes
from tests.fixtures.tiny import LAYERS, PREPROCESS, picture, tiny_network, write_tars

pytestmark = pytest.mark.slow

SIZES = [9, 14, 1, 12]
IMAGES = sum(SIZES)


@pytest.fixture(scope="module")
def tars(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_tars(tmp_path_factory.mktemp("data"), SIZES)


def kept(tars: list[Path], out: Path, **changes: Any) -> Path:
    run_index(config(tars, out, **{"keep": "peaks", "shards_per_part": 1, **changes}), network=tiny_network())
    return out


@pytest.fixture(scope="module")
def whole(tars: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return kept(tars, tmp_path_factory.mktemp("whole") / "out")


def matrix(out: Path) -> np.ndarray[Any, Any]:
    """(image, unit) kept peaks."""
    with open_index(out) as index:
        return np.concatenate([index.activations(layer) for layer in LAYERS], axis=1)


def oracle() -> np.ndarray[Any, Any]:
    """(image, unit) peaks of each image alone, by hooks."""
    network, rows = tiny_network(), []
    found: dict[str, torch.Tensor] = {}

    def keep(name: str) -> Any:
        def hook(_: nn.Module, __: Any, output: torch.Tensor) -> None:
            found[name] = (output.amax((2, 3)) if output.dim() == 4 else output)[0].clone()

        return hook

    for name in LAYERS:
        network.module.get_submodule(name).register_forward_hook(keep(name))
    with torch.no_grad():
        for number in range(IMAGES):
            network.module(network.normalise(decode(picture(number), PREPROCESS)[None]))
            rows.append(torch.cat([found[name] for name in LAYERS]).numpy())
    return np.array(rows)


def test_the_matrix_is_that_of_the_oracle(whole: Path) -> None:
    np.testing.assert_array_equal(matrix(whole), oracle())


@pytest.mark.parametrize(
    "changes",
    [
        {"shards_per_part": 2},
        {"shards_per_part": 4},
        {"batch_size": 5},
        {"keep": "peaks=float32"},
        {"keep": ("peaks", "patches")},
    ],
    ids=str,
)
def test_it_does_not_depend_on_groups_batches_or_format(
    tars: list[Path], whole: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    np.testing.assert_array_equal(matrix(kept(tars, tmp_path / "out", **changes)), matrix(whole))


def test_nothing_else_of_the_index_depends_on_it(tars: list[Path], whole: Path, tmp_path: Path) -> None:
    run_index(config(tars, tmp_path / "out", shards_per_part=1), network=tiny_network())
    with open_index(whole) as index, open_index(tmp_path / "out") as other:
        for table in ("top", "units", "images", "classes", "histograms", "strata"):
            assert index.sql(f"SELECT * FROM {table}") == other.sql(f"SELECT * FROM {table}")


@pytest.mark.parametrize("order", list(itertools.permutations(range(3)))[::2])
def test_a_merge_of_runs_is_one_run(
    tars: list[Path], whole: Path, tmp_path: Path, order: tuple[int, ...]
) -> None:
    """Also where their shards interleave, and one shard is in two of them."""
    runs = [([0, 2], "a"), ([1], "b"), ([1, 3], "c")]
    for shards, name in runs:
        kept([tars[shard] for shard in shards], tmp_path / name, shards_per_part=1)
    merge_runs(tmp_path / "merged", [tmp_path / runs[place][1] for place in order])
    np.testing.assert_array_equal(matrix(tmp_path / "merged"), matrix(whole))
    assert hashes(tmp_path / "merged") == hashes(whole)


def _stopped(tars: list[Path], out: Path) -> None:
    """The run, which ends itself in the second part."""
    add, calls = PeakSpill.add, itertools.count()

    def end(spill: PeakSpill, peaks: Any) -> None:
        if next(calls) == 2:
            os._exit(9)
        add(spill, peaks)

    PeakSpill.add = end  # type: ignore[method-assign]
    kept(tars, out)


def test_a_killed_run_is_resumed_and_leaves_nothing_behind(
    tars: list[Path], whole: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    process = multiprocessing.get_context("fork").Process(target=_stopped, args=(tars, out))
    process.start()
    process.join()
    assert process.exitcode == 9
    assert len(list((out / "parts").glob("*.json"))) == 2
    kept(tars, out)
    np.testing.assert_array_equal(matrix(out), matrix(whole))
    assert {path.name for path in (out / "parts").iterdir()} == {
        path.name for path in (whole / "parts").iterdir()
    }
    assert check_files(out).foreign == ()


@pytest.mark.parametrize("asked", [(), "peaks=float32"], ids=str)
def test_a_run_of_another_setting_is_refused(tars: list[Path], whole: Path, asked: Any) -> None:
    with pytest.raises(FingerprintMismatch, match=r'kept peaks was "float16".* Give --keep peaks=float16'):
        kept(tars, whole, keep=asked)


def test_peaks_cannot_be_added_later(tars: list[Path], tmp_path: Path) -> None:
    run_index(config(tars, tmp_path, shards_per_part=1), network=tiny_network())
    with pytest.raises(FingerprintMismatch, match=r"kept peaks was null.* Give no --keep peaks to continue"):
        kept(tars, tmp_path)
    run_index(config(tars, tmp_path, keep="patches", shards_per_part=1), network=tiny_network())


@pytest.mark.parametrize("words", ["peaks=int8", "photos", ("peaks=float16", "peaks=float32")], ids=str)
def test_what_cannot_be_kept_is_refused(tars: list[Path], tmp_path: Path, words: Any) -> None:
    with pytest.raises(UsageError, match="--keep"):
        config(tars, tmp_path, keep=words)


def _scaled(factor: float) -> Network:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Conv2d(3, 2, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.first(x)

    module = Scaled()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.linspace(0.1, 1, parameter.numel()).reshape(parameter.shape) * factor)
    return Network.from_module(module, PREPROCESS, name="scaled")


def test_float16_is_the_nearest_number_and_orders_as_the_lists_do(tars: list[Path], tmp_path: Path) -> None:
    peaks = {}
    for word in ("float16", "float32"):
        asked = config(tars, tmp_path / word, keep=f"peaks={word}", layers=("first",), top=IMAGES)
        run_index(asked, network=_scaled(0.37))
        with open_index(tmp_path / word) as index:
            peaks[word] = index.activations("first")
            listed = [(image.image_id, image.activation) for image in index.top("first", 1, n=IMAGES)]
            assert [row[0] for row in listed] == [
                image.image_id for image in _without_lists(index, "first", 1, "high") if word == "float32"
            ] or word == "float16"
    np.testing.assert_array_equal(peaks["float32"].astype(np.float16).astype(np.float32), peaks["float16"])
    assert (peaks["float32"] != peaks["float16"]).any()
    assert check_index(tmp_path / "float16", network=_scaled(0.37)).discrepancies == ()


def test_what_float16_cannot_hold_ends_the_run_with_one_line(tars: list[Path], tmp_path: Path) -> None:
    asked = config(tars, tmp_path / "out", keep="peaks", layers=("first",))
    with pytest.raises(ActivationError, match=r"first unit \d gives .* use --keep peaks=float32"):
        run_index(asked, network=_scaled(1e5))
    assert not list((tmp_path / "out" / "parts").iterdir())
    run_index(config(tars, tmp_path / "other", keep="peaks=float32", layers=("first",)), network=_scaled(1e5))


def _without_lists(index: Index, layer: str, unit: int, side: Side) -> list[Any]:
    """All images of a unit, ranked by the kept peaks only."""
    tops = Index.tops
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Index, "tops", lambda self, layer, units, **_: {unit: [] for unit in units})
        found = index.top(layer, unit, n=IMAGES, side=side)
    assert Index.tops is tops
    return found


@pytest.mark.parametrize("side", ["high", "low"])
def test_the_peaks_rank_as_the_lists_do_ties_included(
    tars: list[Path], whole: Path, tmp_path: Path, side: Side
) -> None:
    """Lists of all images, lists of few continued from the peaks, and the peaks alone are the same."""
    kept(tars, tmp_path / "out", top=IMAGES)
    ties = 0
    with open_index(tmp_path / "out") as complete, open_index(whole) as index:
        for layer in LAYERS:
            for unit in range(index.unit_count(layer)):
                listed = [(i.image_id, i.activation) for i in complete.top(layer, unit, n=IMAGES, side=side)]
                found = [(i.image_id, i.activation) for i in index.top(layer, unit, n=IMAGES, side=side)]
                if side == "low" and not index.top(layer, unit, n=K, side=side):
                    assert found == []  # of a rectified unit, at 0 on more images than a list has places
                    continue
                assert found == listed
                alone = _without_lists(index, layer, unit, side)
                assert [(i.image_id, i.activation) for i in alone] == listed
                ties += len(listed) - len({peak for _, peak in listed})
    assert ties, "the case must have ties"


def test_positions_beyond_the_list_are_not_known(whole: Path) -> None:
    with open_index(whole) as index:
        images = index.top("first", 2, n=K + 2)
        assert [image.rank for image in images] == list(range(1, K + 3))
        assert images[:K] == index.tops("first", [2], n=K)[2]
        for image in images[K:]:
            assert (image.y, image.x) == (-1, -1)
            assert (image.box.left, image.box.top, image.box.right, image.box.bottom) == (0, 0, 20, 20)
            assert image.row[5:7] == (None, None)


def test_an_index_is_checked_with_its_peaks(whole: Path) -> None:
    found = check_index(whole, network=tiny_network())
    assert found.discrepancies == ()
    assert found.peaks >= IMAGES * 16, "every kept peak of every image that is run again"


@pytest.mark.parametrize("place", ["header", "data"])
def test_a_changed_byte_is_found_and_its_shards_indexed_again(
    tars: list[Path], whole: Path, tmp_path: Path, place: str
) -> None:
    out = Path(shutil.copytree(whole, tmp_path / "out"))
    path = sorted(out.glob("parts/*/peaks.npy"))[0]
    flip(path, 9 if place == "header" else path.stat().st_size - 3)
    assert list(check_files(out).damaged) == [path.relative_to(out).as_posix()]
    assert check_index(out, sample=0).found >= 1
    kept(tars, out)
    assert check_files(out).damaged == {}
    np.testing.assert_array_equal(matrix(out), matrix(whole))


def test_repair_leaves_them_alone(whole: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(whole, tmp_path / "out"))
    (out / "top.parquet").unlink()
    assert repair_index(out).identical
    np.testing.assert_array_equal(matrix(out), matrix(whole))


def test_a_missing_part_is_one_line(whole: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(whole, tmp_path / "out"))
    shutil.rmtree(out / "parts")
    with open_index(out) as index:
        assert index.top("first", 2, n=2)
        with pytest.raises(DamagedFile, match="is missing, and with it the peaks of its images"):
            index.activations("first", [2])
        with pytest.raises(DamagedFile, match="is missing, and with it the peaks"):
            index.sql("SELECT * FROM peaks WHERE layer = 'first' AND unit = 2")


def test_fresh_removes_them(tars: list[Path], whole: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(whole, tmp_path / "out"))
    run_index(config(tars, out, shards_per_part=1, fresh=True), network=tiny_network())
    assert not list(out.rglob("peaks.npy"))
    assert check_files(out).foreign == ()


def test_the_size_is_said_beforehand(tars: list[Path], tmp_path: Path) -> None:
    notes: list[str] = []

    class Notes(Silent):
        def note(self, text: str) -> None:
            notes.append(text)

    run_index(config(tars, tmp_path, keep="peaks"), network=tiny_network(), reporter=Notes())
    assert "peaks: about 36 images x 16 units x 2 bytes = 1.2 kB" in notes
    assert read_run(tmp_path)["config"]["keep"] == ["peaks=float16"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda column, rows: (rows[0], column.max() + 1), "the maximum of its kept peaks"),
        (lambda column, rows: (rows[0], column[rows[0]] - 1), "the one in the high list"),
        (lambda column, rows: (rows[K + 3], column[rows[0]]), "belongs on the high list"),
        (lambda column, rows: (rows[K + 3], column[rows[K + 3]] + 1), "kept peak"),
    ],
    ids=["a maximum", "a listed peak", "an absence", "a small change"],
)
def test_a_forged_peak_is_found(whole: Path, tmp_path: Path, change: Any, words: str) -> None:
    """Also by somebody who writes the digests again."""
    out = Path(shutil.copytree(whole, tmp_path / "out"))
    (commit,) = list_commits(out / "parts")[1:2]
    path, unit = commit.folder / "peaks.npy", 2
    peaks = np.load(path)
    column = peaks[0, unit]
    row, value = change(column, np.argsort(-column, kind="stable"))
    peaks[0, unit, row] = value
    np.save(path, peaks)
    write_commit(replace(commit, tables={**commit.tables, "peaks": sha256_file(path)}))
    found = check_index(out, network=tiny_network())
    assert any(words in each.what for each in found.discrepancies), found.discrepancies
    assert all(each.layer == "first" and each.unit == unit for each in found.discrepancies)
