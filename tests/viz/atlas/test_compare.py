"""An index beside another: the nearest units are those of the query `compare`, and the pages show them."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import StoreError
from pipeline.query.index import open_index
from pipeline.query.matching import find_matches
from pipeline.store.tables import read_table
from tests.fixtures.small_index import build_index, build_photographs
from viz.atlas.build import build_atlas

pytestmark = pytest.mark.slow

LAYERS = ("stem", "blocks.1", "head")


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two indexes of the same photographs."""
    folder = tmp_path_factory.mktemp("pair")
    data = build_photographs(folder / "photographs")
    outs = []
    for seed in (0, 1):
        (folder / str(seed)).mkdir()
        outs.append(build_index(folder / str(seed), seed=seed, data=data))
    return outs[0], outs[1]


def lists(out: Path) -> dict[tuple[str, int], set[int]]:
    found: dict[tuple[str, int], set[int]] = {}
    for row in read_table(out / "top.parquet").to_pylist():
        if row["side"] == "high":
            found.setdefault((row["layer"], row["unit"]), set()).add(row["image_id"])
    return found


def test_the_nearest_units_are_those_of_the_definition(pair: tuple[Path, Path]) -> None:
    ours, theirs = map(lists, pair)
    with open_index(pair[0]) as index, open_index(pair[1]) as other:
        units = {layer.name: list(range(layer.units)) for layer in index.layers}
        found = find_matches(index, other, units)
        assert find_matches(index, other, {"stem": [2]}) == {("stem", 2): found["stem", 2]}
    assert found.keys() == {
        key for key, images in ours.items() if any(images & each for each in theirs.values())
    }
    for (layer, unit), match in found.items():
        images = ours[layer, unit]

        def likeness(key: tuple[str, int], images: set[int] = images) -> float:
            return len(images & theirs[key]) / len(images | theirs[key])

        best = max(theirs, key=lambda key: (likeness(key), key[0] == layer, -LAYERS.index(key[0]), -key[1]))
        assert (match.layer, match.unit) == best
        assert match.shared == len(images & theirs[best])
        assert match.jaccard == pytest.approx(likeness(best))


def test_of_one_layer_they_are_those_of_the_query(pair: tuple[Path, Path]) -> None:
    with open_index(pair[0]) as index, open_index(pair[1]) as other:
        found = find_matches(index, other, {"head": list(range(6))})
        rows = index.query("compare", other=str(pair[1]), layer="head", other_layer="head").dicts()
    expected = {row["unit"]: (row["best"], row["shared"]) for row in rows if row["best"] is not None}
    same = {unit: match for (_, unit), match in found.items() if match.layer == "head"}
    assert same
    assert all((match.unit, match.shared) == expected[unit] for unit, match in same.items())


def test_pages_show_each_unit_beside_its_nearest(pair: tuple[Path, Path]) -> None:
    with open_index(pair[0]) as index, open_index(pair[1]) as other:
        build_atlas(index, maps=False, other=other)
        match = find_matches(index, other, {"blocks.1": [3]})["blocks.1", 3]
        near = other.layer(match.layer)
    atlas = pair[0] / "atlas"
    assert not (pair[1] / "atlas").exists()
    text = (atlas / "compare/1.html").read_text()
    picture = f"../other/{near.ordinal}/{match.unit}.webp"
    item = text[text.index('<li id="u3">') : text.index('<li id="u4">')]
    assert f'src="{picture}"' in item
    assert f"{match.shared} shared" in item
    assert (atlas / "compare" / picture).is_file()
    assert picture.replace("../", "../../", 1) in (atlas / "unit/1/3.html").read_text()
    assert "compare/index.html" in (atlas / "index.html").read_text()
    for name in re.findall(r'(?:src|href)="([^"#]+)', text):
        assert name == "data:," or (atlas / "compare" / name).exists(), name
    with open_index(pair[0]) as index:
        build_atlas(index, maps=False)
    assert not (atlas / "compare").exists()
    assert not (atlas / "other").exists()
    assert "compare/" not in (atlas / "index.html").read_text()


def test_an_index_of_other_images_is_refused(pair: tuple[Path, Path], tmp_path: Path) -> None:
    data = build_photographs(tmp_path / "photographs")
    (data / "disc" / "disc-07.jpg").unlink()
    other = build_index(tmp_path, data=data)
    before = {p: p.stat().st_mtime_ns for p in pair[0].rglob("*") if p.is_file()}
    with (
        open_index(pair[0]) as index,
        open_index(other) as elsewhere,
        pytest.raises(StoreError, match="different datasets"),
    ):
        build_atlas(index, maps=False, other=elsewhere)
    assert {p: p.stat().st_mtime_ns for p in before} == before


def test_units_without_a_list_have_no_match(pair: tuple[Path, Path]) -> None:
    with open_index(pair[0]) as index, open_index(pair[1]) as other:
        # The last unit of a map is dead.
        assert find_matches(index, other, {"stem": [5]}) == {}
        assert np.isfinite([m.jaccard for m in find_matches(index, other, {"stem": [0]}).values()]).all()
