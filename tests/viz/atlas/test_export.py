"""An atlas as one file, its units as a table, and their places."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import UsageError
from pipeline.query.index import open_index
from pipeline.query.matching import read_lists
from tests.fixtures.small_index import build_index
from viz.atlas.build import build_atlas
from viz.atlas.export import SCHEMA, check_format
from viz.atlas.neighbours import nearest_units
from viz.atlas.places import place_units

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an index, its atlas, an archive and a table of its units."""
    folder = tmp_path_factory.mktemp("made")
    with open_index(build_index(folder)) as index:
        build_atlas(index, maps=False, archive=folder / "a.zip", export=folder / "units.parquet")
    return folder


def test_the_archive_has_every_file_of_the_atlas(made: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(made / "a.zip") as archive:
        assert archive.testzip() is None
        archive.extractall(tmp_path)
    atlas = made / "index/atlas"
    files = {p.relative_to(atlas) for p in atlas.rglob("*") if p.is_file()} - {Path(".files")}
    found = {p.relative_to(tmp_path / "atlas") for p in tmp_path.rglob("*") if p.is_file()}
    assert found == files
    assert all((tmp_path / "atlas" / name).read_bytes() == (atlas / name).read_bytes() for name in files)


def test_the_same_atlas_gives_the_same_archive(made: Path, tmp_path: Path) -> None:
    with open_index(made / "index") as index:
        build_atlas(index, maps=False, archive=tmp_path / "again.zip")
    assert (tmp_path / "again.zip").read_bytes() == (made / "a.zip").read_bytes()


def test_the_table_has_a_row_for_each_unit(made: Path) -> None:
    table = pq.read_table(made / "units.parquet")
    assert table.schema.remove_metadata() == SCHEMA
    rows = table.to_pylist()
    assert [(row["layer"], row["unit"]) for row in rows] == [
        *(("stem", unit) for unit in range(6)),
        *(("blocks.1", unit) for unit in range(12)),
        *(("head", unit) for unit in range(6)),
    ]
    for row in rows:
        assert row["sprite"]["bytes"] == (made / "index/atlas" / row["sprite"]["path"]).read_bytes()
        assert (made / "index/atlas" / row["page"]).is_file()
        assert len(row["neighbors"]["ids"]) == 12
    assert rows[6 + 1]["text"].startswith("blocks.1 1: square")


@pytest.mark.parametrize(("name", "ending"), [("archive", ".zip"), ("export", ".parquet")])
def test_wrong_targets(made: Path, tmp_path: Path, name: str, ending: str) -> None:
    out = shutil.copytree(made / "index", tmp_path / "index")
    shutil.rmtree(out / "atlas")
    folder = tmp_path / f"folder{ending}"
    folder.mkdir()
    for target, message in (
        (folder, "is a folder"),
        (out / f"atlas/a{ending}", "lies in the atlas"),
        (tmp_path / "notes.txt", f"ends in {ending}"),
    ):
        with open_index(out) as index, pytest.raises(UsageError, match=message):
            build_atlas(index, maps=False, **{name: target})
    assert not (out / "atlas").exists()


def test_another_format_is_refused() -> None:
    check_format("embedding-atlas")
    with pytest.raises(UsageError, match="embedding-atlas, got 'csv'"):
        check_format("csv")


def test_neighbours_are_those_of_the_definition(made: Path) -> None:
    rows = pq.read_table(made / "units.parquet").to_pylist()
    with open_index(made / "index") as index:
        lists = {key: set(images.tolist()) for key, images in read_lists(index).items()}
    for number, row in enumerate(rows):
        ours = lists.get((row["layer"], row["unit"]), set())
        likeness = []
        for other in rows:
            theirs = lists.get((other["layer"], other["unit"]), set())
            likeness.append(len(ours & theirs) / max(1, len(ours | theirs)))
        near = row["neighbors"]
        assert number not in near["ids"]
        assert [1 - likeness[other] for other in near["ids"]] == pytest.approx(near["distances"], abs=1e-6)
        del likeness[number]
        assert near["distances"] == pytest.approx(sorted(1 - each for each in likeness)[:12], abs=1e-6)


def test_neighbours_of_equal_likeness_are_the_nearest_in_the_plane() -> None:
    lists = [np.array(each, np.int64) for each in ([1, 2], [3], [4], [])]
    places = np.array([[0.0, 0.0], [3.0, 0.0], [1.0, 0.0], [2.0, 0.0]])
    near, distances = nearest_units(lists, places, 3)
    assert near[0].tolist() == [2, 3, 1]
    assert distances[0].tolist() == [1, 1, 1]


def test_places_are_those_of_correspondence_analysis() -> None:
    generator = np.random.default_rng(0)
    lists = [sorted(generator.choice(40, 12, replace=False).tolist()) for _ in range(30)]
    table = np.zeros((30, 40))
    for row, images in enumerate(lists):
        table[row, images] = 1
    table = table[:, table.sum(0) > 0]
    rows, columns = table.sum(1), table.sum(0)
    left, _, _ = np.linalg.svd(table / np.sqrt(np.outer(rows, columns)))
    found = place_units(lists)
    for axis in (0, 1):
        expected = left[:, 1 + axis] / np.sqrt(rows)
        assert abs(np.corrcoef(found[:, axis], expected)[0, 1]) == pytest.approx(1, abs=1e-3)
    assert found.std(0) == pytest.approx([1, 1])


def test_units_with_the_same_images_lie_together() -> None:
    lists = [[1, 2, 3], [7, 8, 9], [1, 2, 3], [7, 8, 9], [4, 5, 6, 1], []]
    found = place_units(lists)
    assert found[0] == pytest.approx(found[2])
    assert found[1] == pytest.approx(found[3])
    assert np.abs(found[0] - found[1]).max() > 0.5
    assert found[5].tolist() == [0, 0]


@settings(deadline=None, max_examples=40)
@given(st.lists(st.lists(st.integers(0, 8), unique=True), max_size=6))
def test_places_are_finite_and_the_same_each_time(lists: list[list[int]]) -> None:
    found = place_units(lists)
    assert found.shape == (len(lists), 2)
    assert np.isfinite(found).all()
    assert (found == place_units(lists)).all()
