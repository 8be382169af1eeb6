"""`maxact name --concepts`: names of units from concepts of images, beside those from labels."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.check.files import check_files
from pipeline.query.index import open_index
from pipeline.runs.names import name_index
from pipeline.runs.run import run_index
from tests.fixtures.commands import done, refused, run
from tests.fixtures.runs import config
from tests.fixtures.tiny import tiny_network, write_tars

pytestmark = pytest.mark.slow

IMAGES = 120


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("concepts")
    tars = write_tars(folder / "data", [50, 70])
    run_index(config(tars, folder / "out", keep="peaks"), network=tiny_network())
    return folder / "out"


def peaks_and_keys(out: Path, layer: str) -> tuple[np.ndarray[Any, Any], list[str]]:
    with open_index(out) as index:
        keys = [row[0] for row in index.sql("SELECT key FROM images ORDER BY image_id").rows]
        return index.activations(layer), keys


def write_concepts(out: Path, path: Path) -> Path:
    """Two concepts that are true of the images with the highest peaks of two units, and one by chance."""
    peaks, keys = peaks_and_keys(out, "first")
    rows = [(keys[row], f"high {unit}") for unit in (1, 2) for row in np.argsort(-peaks[:, unit])[:40]]
    rows += [(key, "chance") for key in keys if hashlib.md5(key.encode()).digest()[0] & 1]
    pq.write_table(pa.table({"key": [row[0] for row in rows], "concept": [row[1] for row in rows]}), path)
    return path


def test_units_are_named_after_what_drives_them(out: Path, tmp_path: Path) -> None:
    path = write_concepts(out, tmp_path / "c.parquet")
    result = done("name", out, "--concepts", path)
    assert "named from the concepts of images (3 concepts)" in result.stdout
    with open_index(out) as index:
        rows = index.query("unit_names", layer="first", unit=1).dicts()
        assert rows[0]["concept"] == "high 1"
        first = index.sql("SELECT * FROM names WHERE unit = 1 AND layer = 'first' AND rank = 1").dicts()[0]
        assert first["source"] == "concepts"
        assert first["images"] == 40
        peaks, keys = peaks_and_keys(out, "first")
        inside = np.isin(keys, [keys[row] for row in np.argsort(-peaks[:, 1])[:40]])
        assert first["correlation"] == pytest.approx(np.corrcoef(peaks[:, 1], inside)[0, 1], abs=1e-12)
        assert not index.sql("SELECT * FROM names WHERE concept = 'chance' AND unit = 1").rows
    assert check_files(out).damaged == {}
    assert "high 2" in done("find", out, "high 2").stdout


def test_names_of_other_sources_stay(out: Path, tmp_path: Path) -> None:
    def sources() -> set[str]:
        with open_index(out) as index:
            return {row[0] for row in index.sql("SELECT DISTINCT source FROM names").rows}

    name_index(out, concepts=write_concepts(out, tmp_path / "c.parquet"))
    before = sources()
    assert "concepts" in before
    name_index(out)
    assert sources() == before, "labels are named anew, concepts stay"
    (tmp_path / "none.csv").write_text("key,nothing\n00000,1\n")
    name_index(out, concepts=tmp_path / "none.csv")
    assert sources() == before - {"concepts"}


def test_an_index_without_peaks_says_what_to_do(out: Path, tmp_path: Path) -> None:
    tars = write_tars(tmp_path / "data", [6])
    run_index(config(tars, tmp_path / "out"), network=tiny_network())
    (tmp_path / "c.csv").write_text("key,concept\n00000,red\n")
    before = (tmp_path / "out" / "names.parquet").read_bytes()
    line = refused(run("name", tmp_path / "out", "--concepts", tmp_path / "c.csv"))
    assert "concepts of images need the peaks of all images" in line
    assert line.endswith("index again with --keep peaks")
    assert (tmp_path / "out" / "names.parquet").read_bytes() == before


def test_keys_that_are_not_there_are_named(out: Path, tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text("key,concept\n00000,red\ncat.jpg,red\ndog.jpg,red\n")
    line = refused(run("name", out, "--concepts", tmp_path / "c.csv"), 2)
    assert "name 'cat.jpg', 'dog.jpg', which" in line
    assert "it has 120 images, such as '00000', '00001', '00002'" in line


@pytest.mark.parametrize(
    "other", [("--hierarchy", "h.csv"), ("--encoder", "tests.fixtures.dual_encoder:make")]
)
def test_it_excludes_other_ways_to_name(out: Path, tmp_path: Path, other: tuple[str, str]) -> None:
    (tmp_path / "c.csv").write_text("key,concept\n00000,red\n")
    (tmp_path / "h.csv").write_text("a,b\n")
    words = (other[0], str(tmp_path / other[1]) if other[0] == "--hierarchy" else other[1])
    assert "give one of them" in refused(run("name", out, "--concepts", tmp_path / "c.csv", *words), 2)
