"""Names of an index: against the peaks of all images, after merges, repairs and wrong calls."""

from __future__ import annotations

import io
import math
import shutil
import tarfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from typer.testing import CliRunner

from pipeline.check.files import check_files
from pipeline.query.index import open_index
from pipeline.runs.names import name_index
from pipeline.runs.run import run_index
from tests.fixtures.runs import config
from tests.fixtures.tables import edit_run
from tests.fixtures.tiny import tiny_network, write_tars
from viz.cli import app

pytestmark = pytest.mark.slow

SHADES = {"light": (126, 146), "dull": (118, 139), "night": (104, 124), "dusk": (108, 132)}
TIMES = "light,day\ndull,day\nnight,dark\ndusk,dark\n"


def run(*words: object) -> Any:
    return CliRunner().invoke(app, [str(word) for word in words])


def refused(result: Any, code: int) -> str:
    assert result.exit_code == code, result.output
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    return str(line)


def write_shades(folder: Path, shards: int = 4, images: int = 60) -> list[Path]:
    """Archives of images whose label says how bright they are."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(5)
    paths = []
    for shard in range(shards):
        paths.append(folder / f"{shard}.tar")
        with tarfile.open(paths[-1], "w") as archive:
            for number in range(images):
                label = sorted(SHADES)[number % len(SHADES)]
                blocks = rng.integers(*SHADES[label], (4, 4, 3)).astype(np.uint8)
                stream = io.BytesIO()
                Image.fromarray(np.kron(blocks, np.ones((4, 4, 1), np.uint8))).save(stream, "PNG")
                for suffix, data in (("png", stream.getvalue()), ("cls", label.encode())):
                    member = tarfile.TarInfo(f"{number:03}.{suffix}")
                    member.size = len(data)
                    archive.addfile(member, io.BytesIO(data))
    return paths


@pytest.fixture(scope="module")
def shades(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_shades(tmp_path_factory.mktemp("shades") / "data")


@pytest.fixture(scope="module")
def indexed(shades: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("indexed") / "out"
    run_index(config(shades, out, top=300, shards_per_part=1), network=tiny_network())
    return out


@pytest.fixture
def out(indexed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(indexed, tmp_path / "out"))


def all_peaks(out: Path) -> tuple[dict[tuple[str, int], list[float]], list[str], list[int]]:
    """Peaks of every unit in all images, from lists that have room for all, with labels and halves."""
    images = pq.read_table(out / "images.parquet").to_pylist()
    place = {row["image_id"]: number for number, row in enumerate(images)}
    lowest = {(u["layer"], u["unit"]): u["min"] for u in pq.read_table(out / "units.parquet").to_pylist()}
    peaks = {unit: [low] * len(images) for unit, low in lowest.items()}
    for row in pq.read_table(out / "top.parquet").to_pylist():
        peaks[row["layer"], row["unit"]][place[row["image_id"]]] = row["activation"]
    return peaks, [row["label"] for row in images], [row["digest"] & 1 for row in images]


def pearson(peaks: list[float], inside: list[bool]) -> float:
    images, own = len(peaks), sum(inside)
    total, squares = math.fsum(peaks), math.fsum(value * value for value in peaks)
    part = math.fsum(value for value, member in zip(peaks, inside, strict=True) if member)
    return (images * part - own * total) / math.sqrt((images * squares - total**2) * (own * (images - own)))


def test_names_are_those_of_the_whole_matrix_bit_for_bit(out: Path, tmp_path: Path) -> None:
    """The activations of the tiny network are integers, of which sums are exact."""
    (tmp_path / "times.csv").write_text(TIMES)
    done = name_index(out, hierarchy=tmp_path / "times.csv")
    rows = pq.read_table(out / "names.parquet").to_pylist()
    assert done.named == len({(row["layer"], row["unit"]) for row in rows}) > 4
    assert {row["source"] for row in rows} == {"label", "hierarchy"}
    below = defaultdict(set, {label: {label} for label in SHADES})
    for line in TIMES.splitlines():
        label, time = line.split(",")
        below[time].add(label)
    peaks, labels, halves = all_peaks(out)
    for row in rows:
        column = peaks[row["layer"], row["unit"]]
        inside = [label in below[row["concept"]] for label in labels]
        judges = [number for number, half in enumerate(halves) if half]
        assert row["correlation"] == pearson(column, inside)
        assert row["held_out"] == pearson([column[n] for n in judges], [inside[n] for n in judges])
        assert row["images"] == sum(inside)
        chooses = [number for number, half in enumerate(halves) if not half]
        if row["rank"] == 1:
            assert row["combined"] == pytest.approx(row["held_out"], abs=1e-12)
            found = [
                pearson([column[n] for n in chooses], [labels[n] in members for n in chooses])
                for members in below.values()
            ]
            assert pearson([column[n] for n in chooses], [inside[n] for n in chooses]) == max(found)


def test_indexing_writes_names_and_says_so(shades: list[Path], tmp_path: Path) -> None:
    network = ("--network", "tests.fixtures.tiny:factory", "--layers", "first", "--compile", "off")
    done = run("index", *shades, "-o", tmp_path / "out", *network)
    assert done.exit_code == 0, done.output
    (line,) = [line for line in done.stderr.splitlines() if "named from labels" in line]
    assert line == "5 of 5 units named from labels (4 concepts)"
    assert run("name", tmp_path / "out").stdout == f"{tmp_path / 'out'}: {line}\n"


def test_views_queries_and_commands_show_them(out: Path) -> None:
    with open_index(out) as index:
        layer, unit, concept = index.sql("SELECT layer, unit, concept FROM names WHERE rank = 1").rows[0]
        assert index.query("unit_names", layer=layer, unit=unit).rows[0][1] == concept
        (card,) = index.query("unit_card", layer=layer, unit=unit).dicts()
        assert card["names"].startswith(f"{concept} 0.")
        found = index.query("named_units", text=concept.upper()).dicts()
    assert (layer, unit) in {(row["layer"], row["unit"]) for row in found}
    assert [row["held_out"] for row in found] == sorted((row["held_out"] for row in found), reverse=True)
    assert f"unit {unit} of {layer}, named {concept}" in run("top", out, layer, unit).stderr
    assert concept in run("find", out, concept, "-n", 1).stdout
    nothing = run("find", out, "lihgt")
    assert (nothing.exit_code, nothing.stdout) == (0, "no unit is named 'lihgt'; did you mean 'light'?\n")
    assert run("find", out, "lihgt", "--json").stdout == "[]\n"
    assert "must have a word" in refused(run("find", out, " ,"), 2)


def test_a_merge_of_runs_has_the_names_of_one_run(shades: list[Path], out: Path, tmp_path: Path) -> None:
    for name, data in (("one", shades[:2]), ("two", shades[2:])):
        run_index(config(data, tmp_path / name, top=300, shards_per_part=1), network=tiny_network())
    assert run("merge", tmp_path / "merged", tmp_path / "two", tmp_path / "one").exit_code == 0
    assert (tmp_path / "merged/names.parquet").read_bytes() == (out / "names.parquet").read_bytes()


def test_damaged_names_are_found_and_written_again(out: Path) -> None:
    path = out / "names.parquet"
    before = path.read_bytes()
    assert check_files(out).damaged == {}
    path.write_bytes(before[:200] + bytes([before[200] ^ 1]) + before[201:])
    assert list(check_files(out).damaged) == ["names.parquet"]
    assert "names.parquet was changed after it was written: rebuilt" in run("repair", out).stdout
    assert path.read_bytes() == before
    path.unlink()
    assert check_files(out).damaged == {"names.parquet": "is missing"}
    assert "names.parquet is missing: rebuilt" in run("repair", out).stdout
    assert path.read_bytes() == before
    assert "all tables are intact" in run("repair", out).stdout


def test_names_of_another_index_are_not_shown_and_removed(out: Path, tmp_path: Path) -> None:
    data = write_shades(tmp_path / "other", shards=1)
    run_index(config(data, tmp_path / "second"), network=tiny_network())
    shutil.copy(tmp_path / "second/names.parquet", out / "names.parquet")
    with open_index(out) as index:
        assert index.sql("SELECT count(*) FROM names").rows == [(0,)]
    assert "1 file of other indexes removed" in run("clean", out).stdout
    assert not (out / "names.parquet").exists()
    with open_index(out) as index:
        assert index.sql("SELECT count(*) FROM names").rows == [(0,)]
    assert "no unit has a name" in run("find", out, "night").stdout
    assert run("name", out).exit_code == 0
    assert (out / "names.parquet").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("light,day\nday,time\ntime,day\n", "has a cycle"),
        ("light,day\nnoon,day\n", "'noon' without children"),
        ("", "is empty"),
        ("light\n", "row 1 is"),
        ("\0\1\2", "expected CSV or Parquet"),
    ],
)
def test_a_hierarchy_that_cannot_be_used_changes_nothing(
    text: str, said: str, out: Path, tmp_path: Path
) -> None:
    (tmp_path / "bad.csv").write_text(text)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert said in refused(run("name", out, "--hierarchy", tmp_path / "bad.csv"), 2)
    after = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert {path: data for path, data in after.items() if not path.name.endswith("lock")} == {
        path: data for path, data in before.items() if not path.name.endswith("lock")
    }


def test_images_without_labels_give_no_names(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(3):
        Image.new("RGB", (20, 20), (60 * number, 90, 120)).save(folder / f"{number}.png")
    run_index(config([folder], tmp_path / "out"), network=tiny_network())
    assert not (tmp_path / "out/names.parquet").exists()
    assert "have no labels" in refused(run("name", tmp_path / "out"), 1)


def test_few_images_give_an_empty_table(tmp_path: Path) -> None:
    run_index(config(write_tars(tmp_path / "data", [4]), tmp_path / "out"), network=tiny_network())
    assert pq.read_table(tmp_path / "out/names.parquet").num_rows == 0


def test_an_index_of_an_earlier_version_is_refused(out: Path) -> None:
    edit_run(out, lambda content: content["fields"].update({"state version": 3}))
    assert "index again with --fresh" in refused(run("name", out), 1)
