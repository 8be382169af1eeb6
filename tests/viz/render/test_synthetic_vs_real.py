"""The query `synthetic_vs_real` on renderings whose order can be stated."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.query.index import Index, open_index
from tests.fixtures.renders import KEYS, rendered
from tests.fixtures.small_index import build_index
from viz.render.table import merge_renders

ORDERED = (
    rendered(3.0, unit=7),
    rendered(2.0, layer="stem", unit=9),
    rendered(2.0, unit=1, recipe="octaves"),
    rendered(2.0),
    rendered(2.0, seed=1),
    rendered(2.0, facet=1),
    rendered(2.0, objective="point@0,0"),
    rendered(0.5, status="weak", unit=2),
    rendered(None, unit=0, objective="channel - 0.5*channel:7"),
)
"""By ratio, layer, unit, recipe, objective, facet and seed; what cannot be compared last."""


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    out: Path = build_index(tmp_path_factory.mktemp("small"))
    merge_renders(out, ORDERED[::-1])
    with open_index(out) as index:
        yield index


def test_renderings_are_ranked_and_told_apart(index: Index) -> None:
    found = index.query("synthetic_vs_real").dicts()
    assert [tuple(row[key] for key in KEYS) for row in found] == [row.key for row in ORDERED]
    assert [row["ratio"] for row in found] == [row.ratio for row in ORDERED]
    for row, expected in zip(found, ORDERED, strict=True):
        assert row["activation"] == expected.activation
        assert row["file"] == expected.file
        assert row["status"] == expected.status


def test_parameters_narrow_it(index: Index) -> None:
    assert len(index.query("synthetic_vs_real", layer="stem").rows) == 1
    assert len(index.query("synthetic_vs_real", recipe="octaves").rows) == 1
    assert len(index.query("synthetic_vs_real", n=2).rows) == 2
