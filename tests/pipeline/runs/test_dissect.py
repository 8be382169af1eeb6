"""`maxact dissect`: units of known colours come out right, and counts are those of a plain oracle."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from pipeline.check.files import check_files
from pipeline.config import RunConfig
from pipeline.images.decode import decode
from pipeline.query.index import open_index
from pipeline.runs.dissect import dissect_index
from pipeline.runs.out_folder import clean_index
from pipeline.runs.run import run_index
from pipeline.state.label_sums import half_by
from pipeline.state.statistics import bucket_bounds
from tests.fixtures.commands import done, refused, run
from tests.fixtures.masked import write_masked
from tests.fixtures.textures import COLOURS, factory

pytestmark = pytest.mark.slow

IMAGES = 60
QUANTILE = 0.9
NETWORK = "tests.fixtures.textures:factory"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_masked(tmp_path_factory.mktemp("masked"), images=IMAGES)
    config = RunConfig(
        data=folder / "images", out=folder / "out", network=NETWORK, top=5, compile="off", workers=1
    )
    run_index(config)
    done("dissect", folder / "out", "--masks", folder / "numbers", "--quantile", QUANTILE)
    return folder


def rows(out: Path, table: str) -> list[dict[str, object]]:
    with open_index(out) as index:
        return index.sql(f"SELECT * FROM {table}").dicts()


def test_units_are_named_after_the_colour_that_they_look_for(folder: Path) -> None:
    named = {row["unit"]: row["concept"] for row in rows(folder / "out", "names") if row["source"] == "masks"}
    assert named == dict(enumerate(COLOURS))
    best = [row for row in rows(folder / "out", "dissection") if row["rank"] == 1]
    assert [row["concept"] for row in best] == list(COLOURS)
    assert all(row["iou_held_out"] > 0.15 and row["correlation_held_out"] > 0.3 for row in best)
    with open_index(folder / "out") as index:
        found = index.query("unit_dissection", layer="colours").dicts()
        assert {row["unit"]: row["concept"] for row in found} == dict(enumerate(COLOURS))
    assert "red" in done("find", folder / "out", "red").stdout
    assert check_files(folder / "out").damaged == {}


def oracle(folder: Path) -> dict[tuple[int, str], tuple[float, float]]:
    """(iou, held-out iou) of each unit and colour, one image at a time in float64."""
    module, preprocess = factory()
    with open_index(folder / "out") as index:
        images = index.sql("SELECT key, origin, digest FROM images ORDER BY image_id").rows
    maps, masks, halves = [], [], []
    for key, origin, digest in images:
        pixels = decode((folder / "images" / key).read_bytes(), preprocess).float() / 255
        with torch.no_grad():
            maps.append(module.colours(pixels[None])[0].double().numpy())
        numbers = np.asarray(Image.open(folder / "numbers" / key))
        side = len(numbers)
        # The input has 64 x 64 pixels; every place is one of them.
        under = np.floor((np.arange(64) + 0.5) * side / 64).astype(int)
        masks.append(numbers[np.ix_(under, under)])
        halves.append(half_by(origin, digest))
    everything = np.concatenate([each.reshape(4, -1) for each in maps], axis=1)
    edges = np.sort(np.concatenate(bucket_bounds()))
    found: dict[tuple[int, str], tuple[float, float]] = {}
    centres = np.arange(14) * 4 + 4.5
    for unit in range(4):
        level = next(e for e in edges if (everything[unit] > e).mean() <= 1 - QUANTILE)
        active = []
        for each in maps:
            lines = np.array([np.interp(np.arange(64) + 0.5, centres, line) for line in each[unit]])
            enlarged = np.array([np.interp(np.arange(64) + 0.5, centres, c) for c in lines.T]).T
            active.append(enlarged > level)
        for number, name in enumerate(COLOURS, start=1):
            counts = np.zeros((2, 2))
            for ours, theirs, half in zip(active, masks, halves, strict=True):
                counts[half] += (ours & (theirs == number)).sum(), (ours | (theirs == number)).sum()
            both, union = counts.sum(0)
            found[unit, name] = both / union, counts[1, 0] / counts[1, 1]
    return found


def test_the_numbers_are_those_of_an_oracle(folder: Path) -> None:
    wanted = oracle(folder)
    found = rows(folder / "out", "dissection")
    assert len(found) >= 8
    for row in found:
        iou, held_out = wanted[row["unit"], row["concept"]]  # type: ignore[index]
        assert row["iou"] == pytest.approx(iou, abs=1e-3)
        assert row["iou_held_out"] == pytest.approx(held_out, abs=1e-3)


def test_a_folder_for_each_concept_gives_the_same(folder: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(folder / "out", tmp_path / "out"))
    before = rows(out, "dissection")
    (out / "dissection.parquet").unlink()
    dissect_index(out, folder / "folders", quantile=QUANTILE)
    assert rows(out, "dissection") == before


def test_images_without_a_mask_count_for_thresholds_only(folder: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(folder / "out", tmp_path / "out"))
    masks = Path(shutil.copytree(folder / "numbers", tmp_path / "numbers"))
    for path in sorted(masks.glob("in/*.png"))[40:]:
        path.unlink()
    result = done("dissect", out, "--masks", masks, "--quantile", QUANTILE)
    assert "20 of 60 images have no mask; they count for thresholds only" in result.stderr
    assert "masks of 40 images (4 concepts)" in result.stdout
    levels = [
        {row["unit"]: row["threshold"] for row in rows(each, "dissection")} for each in (out, folder / "out")
    ]
    assert levels[0] == levels[1]


def test_names_from_labels_and_masks_stand_beside_each_other(folder: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(folder / "out", tmp_path / "out"))
    done("name", out)
    assert {row["source"] for row in rows(out, "names")} >= {"masks"}
    assert clean_index(out) == 0


def write_parquet(folder: Path, path: Path, **extra: object) -> Path:
    """The images and their masks as columns of a Parquet file; the last image has no mask."""
    keys = sorted(each.relative_to(folder / "images") for each in folder.glob("images/in/*.png"))
    masks = [{"bytes": (folder / "numbers" / key).read_bytes()} for key in keys[:-1]]
    columns = {
        "image": [{"bytes": (folder / "images" / key).read_bytes(), "path": str(key)} for key in keys],
        "annotation": [*masks, None],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns | extra), path, row_group_size=17)
    return path


def test_a_column_of_masks_gives_the_same(folder: Path, tmp_path: Path) -> None:
    """But for the last image, which has none, also in the folder of masks."""
    data = write_parquet(folder, tmp_path / "data" / "a.parquet")
    masks = Path(shutil.copytree(folder / "numbers", tmp_path / "numbers"))
    sorted(masks.glob("in/*.png"))[-1].unlink()
    out = tmp_path / "out"
    run_index(RunConfig(data=data, out=out, network=NETWORK, top=5, compile="off", workers=1))
    names = folder / "numbers" / "names.csv"
    result = done("dissect", out, "--masks", "annotation", "--mask-names", names, "--quantile", QUANTILE)
    assert "1 of 60 images have no mask" in result.stderr
    found = rows(out, "dissection")
    other = Path(shutil.copytree(folder / "out", tmp_path / "other"))
    done("dissect", other, "--masks", masks, "--quantile", QUANTILE)
    columns = ("unit", "rank", "concept", "iou", "iou_held_out", "images", "threshold")
    assert [[row[c] for c in columns] for row in found] == [
        [row[c] for c in columns] for row in rows(other, "dissection")
    ]
    line = refused(run("dissect", out, "--masks", "annotations", "--mask-names", names))
    assert "has no column 'annotations' of encoded pictures; it has image, annotation" in line
    assert "give a file that names them (--mask-names)" in refused(
        run("dissect", out, "--masks", "annotation"), 2
    )


@pytest.mark.parametrize(
    ("words", "text", "code"),
    [
        (("--masks", "{}/nowhere"), "are no folder", 2),
        (("--masks", "annotation"), "are no folder, nor a column: images is not of Parquet files", 2),
        (("--masks", "{}/numbers", "--mask-names", "{}/none.csv"), "cannot be read: No such file", 2),
        (("--masks", "{}/images"), "have neither names.csv", 2),
        (("--masks", "{}/other"), "have none of an image of", 2),
        (("--masks", "{}/numbers", "--quantile", "1"), "--quantile must be between 0 and 1", 2),
        (("--masks", "{}/numbers", "--layer", "shapes"), "layer shapes has no grid of known positions", 2),
        (("--masks", "{}/wrong"), "has 5 x 5 pixels, its image", 1),
    ],
)
def test_a_wrong_call_is_one_line_and_changes_nothing(
    folder: Path, tmp_path: Path, words: tuple[str, ...], text: str, code: int
) -> None:
    for name in ("other", "wrong"):
        (folder / name / "in").mkdir(parents=True, exist_ok=True)
        (folder / name / "names.csv").write_text("1,red\n")
    (folder / "images" / "in" / "inner").mkdir(exist_ok=True)
    Image.new("L", (5, 5)).save(folder / "other" / "elsewhere.png")
    Image.new("L", (5, 5)).save(folder / "wrong" / "in" / "001.png")
    before = {path.name: path.read_bytes() for path in (folder / "out").glob("*.parquet")}
    if "{}/images" in words:
        shutil.copytree(folder / "images" / "in", tmp_path / "flat", dirs_exist_ok=True)
        words = ("--masks", str(tmp_path / "flat"))
    result = run("dissect", folder / "out", *(word.format(folder) for word in words))
    assert text in refused(result, code)
    assert {path.name: path.read_bytes() for path in (folder / "out").glob("*.parquet")} == before
