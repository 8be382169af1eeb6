"""The matrix of kept peaks is the same however shards are grouped into parts."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import DamagedFile, StoreError, UnreadableFile
from pipeline.query.peak_matrix import open_matrix
from pipeline.state.commit_file import Commit, part_name, write_commit
from pipeline.state.part import ShardRecord
from pipeline.store import peak_files
from pipeline.store.peak_files import KEPT_PEAKS, PeakSpill

UNITS = 3
PRINT = "0" * 64


def write_parts(out: Path, peaks: dict[str, np.ndarray[Any, Any]], groups: list[list[str]]) -> dict[str, Any]:
    """Parts of groups of shards; returns what run.json has of them."""
    names = []
    for group in groups:
        shards = tuple(ShardRecord(name, 1, len(peaks[name]), 0) for name in sorted(group))
        name = part_name(PRINT, shards)
        (out / "parts" / name).mkdir(parents=True)
        with PeakSpill(out / "parts", UNITS, "float32") as spill:
            for shard in shards:
                spill.add(peaks[shard.name])
            digest = spill.write(out / "parts" / name / "peaks.npy")
        tables = dict.fromkeys(("state", "histogram", "labels", "sample", "images", "errors"), PRINT)
        commit = Commit(out / "parts" / f"{name}.json", PRINT, shards, tables | {"peaks": digest}, UNITS, 1)
        write_commit(commit)
        names.append(name)
    images = sum(map(len, peaks.values()))
    return {"fields": {KEPT_PEAKS: "float32"}, "parts": names, "counts": {"images": images}}


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 5), min_size=1, max_size=7),
    tile=st.integers(1, 6),
    seed=st.integers(0, 1000),
    groups=st.integers(1, 4),
)
def test_rows_are_in_the_order_of_shards_whatever_their_parts(
    sizes: list[int], tile: int, seed: int, groups: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    rng = np.random.default_rng(seed)
    peaks = {f"shard-{n}": rng.normal(size=(size, UNITS)).astype(np.float32) for n, size in enumerate(sizes)}
    part_of = rng.integers(0, groups, len(sizes))
    grouped = [[name for name, part in zip(peaks, part_of, strict=True) if part == n] for n in range(groups)]
    order = rng.permutation(groups).tolist()
    out = tmp_path_factory.mktemp("out")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(peak_files, "TILE_IMAGES", tile)
        run = write_parts(out, peaks, [grouped[n] for n in order if grouped[n]])
        matrix = open_matrix(out, run, UNITS)
        whole = np.concatenate([peaks[name] for name in sorted(peaks)])
        assert matrix.image_count == len(whole)
        np.testing.assert_array_equal(matrix.units(slice(0, UNITS)), whole.T)
        np.testing.assert_array_equal(matrix.units(slice(1, 2)), whole.T[1:2])
        rows = rng.permutation(len(whole))[: rng.integers(0, len(whole) + 1)]
        np.testing.assert_array_equal(matrix.images(rows), whole[rows])
    shutil.rmtree(out)


@pytest.fixture
def made(tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    peaks = {name: np.ones((4, UNITS), np.float32) for name in "ab"}
    return tmp_path, write_parts(tmp_path, peaks, [["a"], ["b"]])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda out, run: run["parts"].pop(), "have 4 images, and the index 8"),
        (lambda out, run: run["parts"].append(run["parts"][0]), "have 12 images, and the index 8"),
        (lambda out, run: run["parts"].append("../../x"), "names the part '../../x', which is none"),
        (lambda out, run: run["counts"].update(images=9), "have 8 images, and the index 9"),
        (lambda out, run: (out / "parts" / f"{run['parts'][0]}.json").unlink(), "is missing, and with it"),
        (
            lambda out, run: (out / "parts" / f"{run['parts'][0]}.json").write_text("[]"),
            "is not as it was written",
        ),
        (
            lambda out, run: (out / "parts" / f"{run['parts'][0]}.json").write_text(
                (out / "parts" / f"{run['parts'][0]}.json").read_text().replace('"images": 4', '"images": 3')
            ),
            "is not as it was written",
        ),
    ],
)
def test_parts_that_do_not_fit_are_one_line(
    made: tuple[Path, dict[str, Any]], change: Any, words: str
) -> None:
    out, run = made
    change(out, run)
    with pytest.raises(DamagedFile, match=words) as caught:
        open_matrix(out, run, UNITS)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("fields", [{}, {KEPT_PEAKS: None}, {KEPT_PEAKS: "int8"}, {KEPT_PEAKS: ["float16"]}])
def test_an_index_that_keeps_none_says_so(tmp_path: Path, fields: dict[str, Any]) -> None:
    with pytest.raises(StoreError, match="index again with --keep peaks"):
        open_matrix(tmp_path, {"fields": fields}, UNITS)


def test_a_commit_file_that_cannot_be_read_for_the_moment(
    made: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: Path) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Path, "read_bytes", fail)
    with pytest.raises(UnreadableFile, match="Input/output error"):
        open_matrix(made[0], made[1], UNITS)
