"""A unit of an index as an object, without anything that draws."""

from __future__ import annotations

import operator
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.errors import LayerError, StoreError, UsageError
from pipeline.query.index import Index, open_index
from tests.fixtures.small_index import build_index

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    with open_index(build_index(tmp_path_factory.mktemp("small"))) as opened:
        yield opened


def test_a_unit_by_number_text_or_class_name_is_the_same_unit(index: Index) -> None:
    by_number, by_text, by_name = (index.unit("head", each) for each in (3, "3", "rings"))
    assert by_number == by_text == by_name
    assert operator.index(by_name) == by_name.number == 3
    assert str(by_name) == "unit 3 (rings) of head"
    assert by_number != index.unit("stem", 3)


def test_it_answers_as_the_index_does(index: Index) -> None:
    unit = index.unit("blocks.1", 1)
    assert unit.top(4, side="low") == index.top("blocks.1", 1, n=4, side="low")
    assert unit.card() == index.query("unit_card", layer="blocks.1", unit=1)
    assert unit.statistics["max"] == unit.card().dicts()[0]["max"]
    assert unit.names == ("square",)
    assert unit.where() == index.layer("blocks.1")


def test_it_stands_for_its_number(index: Index) -> None:
    unit = index.unit("stem", 2)
    assert index.query("unit_card", layer="stem", unit=unit) == unit.card()
    assert list(index.tops("stem", [unit], n=1)) == [2]
    assert index.top("stem", unit, n=2) == unit.top(2)


@pytest.mark.parametrize("unit", ["0,1", "0-2", "all", 99, "rings", 1.5, None, True])
def test_what_is_not_one_unit_is_refused(index: Index, unit: object) -> None:
    if unit is True:  # Python's True is the number 1
        assert index.unit("stem", unit).number == 1
        return
    with pytest.raises(UsageError):
        index.unit("stem", unit)


def test_a_layer_that_is_not_there(index: Index) -> None:
    with pytest.raises(LayerError, match="did you mean 'stem'"):
        index.unit("stm", 0)


def test_a_layer_shows_itself_as_a_table(index: Index) -> None:
    html = index.layer("stem")._repr_html_()
    assert "<td>stem</td>" in html
    assert "<td>11x11</td>" in html


def test_without_viz_a_unit_shows_its_statistics_and_says_what_draws(tmp_path: Path) -> None:
    out = build_index(tmp_path)
    code = f"""
from pipeline import MaxactError, open_index
with open_index({str(out)!r}) as index:
    unit = index.unit("stem", 1)
    assert "<td>stem</td>" in unit._repr_html_()
    for call in (unit.show, unit.render):
        try:
            call()
        except MaxactError as error:
            print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert (
        done.stdout.splitlines()
        == ["pictures of units need the package viz; import maxact, or viz, as well"] * 2
    ), done.stderr


def test_without_kept_peaks_it_says_how_to_keep_them(index: Index) -> None:
    unit = index.unit("stem", 1)
    for ask in (unit.activations, unit.nearest):
        with pytest.raises(StoreError, match="--keep peaks"):
            ask()
