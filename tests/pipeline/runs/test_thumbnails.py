"""Thumbnails in the index: what they show, that they change nothing else, and when they are used."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.images.decode import decode
from pipeline.images.preprocess import Preprocess
from pipeline.query.index import open_index
from pipeline.runs.thumbnails import draw_thumbnail
from pipeline.store.run_file import read_run, write_run
from pipeline.store.schemas import THUMBNAILS
from pipeline.store.tables import read_table, write_table
from pipeline.store.trust import sign_run
from tests.fixtures.commands import done, run
from tests.fixtures.runs import hashes
from tests.fixtures.small_index import build_photographs, draw_shape
from tests.fixtures.tables import edit_run
from tests.fixtures.tiny import write_tars

pytestmark = pytest.mark.slow

OPTIONS = ("--network", "tests.fixtures.convnets:factory", "--layers", "stem", "--compile", "off")
KEEP = ("--keep", "patches")


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kept")
    build_photographs(folder / "photographs")
    done("index", folder / "photographs", "-o", folder / "out", *OPTIONS, "--top", "3", *KEEP)
    return folder


@pytest.fixture
def out(kept: Path, tmp_path: Path) -> Path:
    """A copy of the index; its dataset is still there."""
    return Path(shutil.copytree(kept / "out", tmp_path / "out"))


def page(result: Any) -> np.ndarray[Any, Any]:
    with Image.open(result.stdout.splitlines()[0]) as drawn:
        return np.asarray(drawn.convert("RGB"), int)


def lose(out: Path) -> None:
    """Let an index name a dataset that does not exist."""
    edit_run(out, lambda run: run["dataset"].update(data=[str(out / "nowhere")]))
    write_run(out, sign_run(read_run(out)))


@pytest.mark.parametrize("fit", ["crop", "squash"])
@pytest.mark.parametrize("size", [(120, 90), (97, 203), (700, 500), (60, 60)])
def test_a_thumbnail_shows_what_the_network_was_shown(size: tuple[int, int], fit: Any) -> None:
    preprocess = Preprocess(64, 48, 73, interpolation="bicubic", fit=fit)
    stream = io.BytesIO()
    draw_shape("rings", *size, np.random.default_rng(1)).save(stream, "PNG")
    width, height, jpeg = draw_thumbnail(stream.getvalue(), preprocess)
    with Image.open(io.BytesIO(jpeg)) as picture:
        assert picture.size == (width, height)
    assert max(width, height) <= min(256, max(size))
    squash = Preprocess(64, 48, 73, interpolation="bicubic", fit="squash")
    shown, input = decode(jpeg, squash).float(), decode(stream.getvalue(), preprocess).float()

    def difference(down: int, right: int) -> float:
        """Mean difference inside of a margin of two pixels, with the input moved."""
        return float((shown - input.roll((down, right), (1, 2)))[:, 2:-2, 2:-2].abs().mean())

    assert difference(0, 0) < 8, "on 0..255"
    assert difference(0, 0) < min(difference(*by) for by in ((1, 0), (0, 1), (-1, 0), (0, -1))) / 3


def test_a_large_input_has_large_thumbnails() -> None:
    stream = io.BytesIO()
    Image.new("RGB", (900, 600)).save(stream, "PNG")
    assert draw_thumbnail(stream.getvalue(), Preprocess(384, 384, 400))[:2] == (384, 384)


def test_every_listed_image_has_one_and_no_other(out: Path) -> None:
    with open_index(out) as index:
        listed = index.sql("SELECT DISTINCT image_id FROM top WHERE side = 'high' ORDER BY 1").rows
        assert index.sql("SELECT image_id FROM thumbnails").rows == listed
        assert 0 < len(listed) < 48


def test_nothing_else_changes(kept: Path, tmp_path: Path) -> None:
    words = ("index", kept / "photographs", "-o", tmp_path, *OPTIONS, "--top", "3")
    done(*words)
    assert not (tmp_path / "thumbnails.parquet").exists()
    assert hashes(tmp_path) == hashes(kept / "out")
    later = done(*words, *KEEP)
    assert "indexing" not in later.stderr
    assert hashes(tmp_path) == hashes(kept / "out")
    names = [tmp_path / "thumbnails.parquet", kept / "out" / "thumbnails.parquet"]
    assert names[0].read_bytes() == names[1].read_bytes()
    assert "is complete; nothing to do" in done(*words, *KEEP).stderr
    assert "is complete; nothing to do" in done(*words).stderr
    assert names[0].exists()


def test_sheets_and_projections_are_drawn_without_the_dataset(out: Path) -> None:
    before = page(done("sheets", out, "--units", "0-3"))
    lose(out)
    result = done("sheets", out, "--units", "0-3", "--page-units", "2")
    (line,) = [line for line in result.stderr.splitlines() if "thumbnails" in line]
    assert line.startswith(
        f"images are shown from the thumbnails in {out}, as {out / 'nowhere'} does not exist"
    )
    after = page(done("sheets", out, "--units", "0-3"))
    assert np.abs(after - before).mean() < 1, "on 0..255"
    assert (after != before).any()
    assert "thumbnails" in done("project", out, "--units", "0", "--method", "gradient").stderr


def test_a_place_that_was_given_is_not_passed_over(out: Path) -> None:
    result = run("sheets", out, "--units", "0", "--data", out / "nowhere")
    assert result.exit_code == 2
    assert "nowhere does not exist" in result.stderr
    assert "thumbnails" not in result.stderr


def test_originals_are_used_where_they_are(out: Path) -> None:
    assert "thumbnails" not in done("sheets", out, "--units", "0").stderr


@pytest.mark.parametrize("lost", ["all", "one", "of another index"])
def test_without_a_thumbnail_the_missing_dataset_is_the_error(out: Path, lost: str) -> None:
    path = out / "thumbnails.parquet"
    lose(out)
    table = read_table(path)
    path.unlink()
    if lost != "all":
        kept = table.slice(1) if lost == "one" else table
        footer = json.loads((out / "run.json").read_text())["fingerprint"] if lost == "one" else "0" * 64
        write_table(path, THUMBNAILS, [kept], metadata={"maxact.fingerprint": footer})
    result = run("sheets", out)
    assert result.exit_code == 1
    assert "nowhere does not exist; if the dataset has moved, say where it is now (--data)" in result.stderr


def test_thumbnails_of_another_index_do_not_stay(kept: Path, out: Path) -> None:
    done("index", kept / "photographs", "-o", out, *OPTIONS, "--top", "2", "--fresh")
    assert not (out / "thumbnails.parquet").exists()


def test_a_merge_does_not_keep_thumbnails_with_other_numbers(tmp_path: Path) -> None:
    tars = write_tars(tmp_path / "data", [3, 3])
    outs = [tmp_path / name for name in "ab"]
    for tar, out in zip(tars, outs, strict=True):
        done("index", tar, "-o", out, *OPTIONS, "--top", "2", *KEEP)
    done("merge", *outs[::-1])
    assert not (outs[1] / "thumbnails.parquet").exists()
    assert (outs[0] / "thumbnails.parquet").exists()
