"""Units that share top images are those of the SQL of their panel; links between pages are relative."""

from __future__ import annotations

import posixpath
from pathlib import Path

import pytest

from pipeline.query.index import open_index
from tests.fixtures.small_index import build_index
from viz.atlas.addresses import relative
from viz.atlas.collect import SIMILAR
from viz.atlas.similar import similar_units


@pytest.mark.parametrize("units", [list(range(12)), [1, 3, 7, 8], []])
def test_similar_units_are_those_of_the_sql(tmp_path: Path, units: list[int]) -> None:
    with open_index(build_index(tmp_path)) as index:
        found = similar_units(index, "blocks.1", units, count=4, least=3)
        rows = index.sql(SIMILAR, layer="blocks.1", units=units, count=4, shared=3).dicts()
    expected: dict[int, list[tuple[int, int]]] = {}
    for row in rows:
        expected.setdefault(row["unit"], []).append((row["other"], row["shared"]))
    assert {unit: [(n.unit, n.shared) for n in near] for unit, near in found.items()} == expected
    likeness = {(row["unit"], row["other"]): row["jaccard"] for row in rows}
    for unit, near in found.items():
        assert [n.jaccard for n in near] == pytest.approx([likeness[unit, n.unit] for n in near])


def test_a_unit_is_compared_with_the_others_of_its_layer(tmp_path: Path) -> None:
    with open_index(build_index(tmp_path)) as index:
        every = similar_units(index, "blocks.1", range(12), count=4, least=3)
        for unit in range(12):
            alone = similar_units(index, "blocks.1", [unit], count=4, least=3, among=range(12))
            assert alone.get(unit, []) == every.get(unit, [])


PLACES = ("index.html", "layer/1.html", "unit/1/3.html", "unit/10/3.html", "other/1/2.webp", ".")


@pytest.mark.parametrize("page", PLACES[:4])
@pytest.mark.parametrize("target", PLACES)
def test_links_are_relative(page: str, target: str) -> None:
    expected = posixpath.relpath(target, posixpath.dirname(page) or ".")
    assert relative(page, target) == expected
