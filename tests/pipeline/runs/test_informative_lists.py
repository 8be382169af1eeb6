"""Lists contain only peaks that tell images apart, and dead units say that they are dead."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pipeline.check.audit import check_index
from pipeline.check.consistency import find_inconsistencies
from pipeline.config import RunConfig
from pipeline.query.index import Index, open_index
from pipeline.runs.merge import merge_runs
from pipeline.runs.run import run_index
from pipeline.store.schemas import SCHEMAS
from tests.fixtures.runs import rows
from tests.fixtures.sparse import (
    CONSTANT,
    DARK,
    DEAD,
    DENSE,
    IMAGES,
    MOST,
    NEGATIVE,
    RARE,
    peak,
    sparse_network,
    write_photographs,
)
from tests.fixtures.tables import Row, rewrite
from viz.cli import app
from viz.projections.page import draw_projections
from viz.sheets.cells import gather_cells

pytestmark = pytest.mark.slow

K = 5
UNITS = (DENSE, DEAD, RARE, CONSTANT, MOST, NEGATIVE, DARK)


def index_photographs(data: Path, out: Path, **changes: Any) -> Path:
    asked: dict[str, Any] = {"layers": "sparse", "top": K, "compile": "off", "workers": 1} | changes
    run_index(RunConfig(data, out, **asked), network=sparse_network())
    return out


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photographs(tmp_path_factory.mktemp("grey"))


@pytest.fixture(scope="module")
def out(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("index") / "out"
    words = ["index", str(data), "-o", str(folder), "--network", "tests.fixtures.sparse:factory"]
    words += ["--layers", "sparse", "--top", str(K), "--compile", "off", "--workers", "1"]
    assert CliRunner().invoke(app, words).exit_code == 0
    return folder


@pytest.fixture
def index(out: Path) -> Any:
    with open_index(out) as index:
        yield index


def activations(out: Path, unit: int, side: str) -> list[float]:
    found = [row for row in rows(out, "top") if (row["unit"], row["side"]) == (unit, side)]
    assert [row["rank"] for row in found] == list(range(1, len(found) + 1))
    return [float(str(row["activation"])) for row in found]


def all_peaks(unit: int) -> list[float]:
    return [peak(unit, number) for number in range(IMAGES)]


@pytest.mark.parametrize("unit", UNITS)
def test_the_highest_peaks_are_above_the_minimum(out: Path, unit: int) -> None:
    peaks = all_peaks(unit)
    wanted = sorted((value for value in peaks if value > min(peaks)), reverse=True)[:K]
    assert activations(out, unit, "high") == wanted
    assert len(wanted) == {DEAD: 0, CONSTANT: 0, NEGATIVE: 0, RARE: 3}.get(unit, K)


@pytest.mark.parametrize("unit", UNITS)
def test_the_lowest_peaks_do_not_depend_on_image_numbers_alone(out: Path, unit: int) -> None:
    wanted = sorted(all_peaks(unit))[:K] if unit in (DENSE, MOST) else []
    assert activations(out, unit, "low") == wanted
    assert (all_peaks(MOST).count(0), all_peaks(RARE).count(0)) == (2, 21)


def test_a_rectified_unit_has_a_low_list_as_long_as_its_zeros_fit(data: Path, tmp_path: Path) -> None:
    out = index_photographs(data, tmp_path, top=21)
    assert activations(out, RARE, "low") == [0.0] * 21
    assert len(activations(out, DENSE, "low")) == 21
    wide = index_photographs(data, tmp_path / "wide", top=200)
    assert len(activations(wide, DENSE, "high")) == IMAGES - 1, "the image with the minimum is not listed"
    assert len(activations(wide, DENSE, "low")) == IMAGES - 1


def test_dead_units_have_no_labels_no_selectivity_and_no_strata(out: Path) -> None:
    strata = {row["unit"] for row in rows(out, "strata")}
    for row in rows(out, "units"):
        told = [row[name] for name in ("selectivity", "top_label", "majority_label", "precision")]
        dead = row["unit"] in (DEAD, CONSTANT, NEGATIVE)
        assert all(value is None for value in told) if dead else None not in told
        assert (row["unit"] in strata) != dead


def test_merged_runs_have_the_lists_of_one_run(data: Path, tmp_path: Path) -> None:
    """A unit that is constant in one part may vary in the other: lists are filtered after merging."""
    whole = index_photographs(data, tmp_path / "whole")
    folders = sorted(data.iterdir())
    parts = [index_photographs(folder, tmp_path / folder.name) for folder in folders]
    merge_runs(tmp_path / "merged", parts)
    for unit in UNITS:
        for side in ("high", "low"):
            assert activations(tmp_path / "merged", unit, side) == activations(whole, unit, side)
    once = index_photographs(data, tmp_path / "once", shards_per_part=1)
    for table in SCHEMAS:
        assert rows(once, table) == rows(whole, table)


def test_a_check_expects_such_lists(out: Path) -> None:
    audit = check_index(out, sample=10_000, network=sparse_network())
    assert audit.images == IMAGES
    assert audit.discrepancies == ()


@pytest.mark.parametrize(
    ("unit", "side", "words"),
    [(RARE, "high", "2 images, expected 3"), (DENSE, "high", "4 images, expected 5")],
)
def test_a_check_finds_a_list_that_lost_a_row(
    data: Path, tmp_path: Path, unit: int, side: str, words: str
) -> None:
    out = index_photographs(data, tmp_path)

    def change(rows: list[Row]) -> list[Row]:
        last = max(row["rank"] for row in rows if (row["unit"], row["side"]) == (unit, side))
        return [row for row in rows if (row["unit"], row["side"], row["rank"]) != (unit, side, last)]

    rewrite(out, "top", change)
    with open_index(out) as index:
        found = find_inconsistencies(index, top=K)
    assert {each.unit for each in found} == {unit}
    assert any(words in each.what for each in found)
    audit = check_index(out, sample=10_000, network=sparse_network())
    assert any(f"belongs on the {side} list" in each.what for each in audit.discrepancies)


@pytest.mark.parametrize(("unit", "side"), [(DEAD, "high"), (RARE, "low"), (RARE, "high")])
def test_a_check_finds_a_listed_peak_that_says_nothing(
    data: Path, tmp_path: Path, unit: int, side: str
) -> None:
    out = index_photographs(data, tmp_path)

    def change(rows: list[Row]) -> list[Row]:
        known = sum((row["unit"], row["side"]) == (unit, side) for row in rows)
        added = {"unit": unit, "side": side, "rank": known + 1, "activation": 0.0, "y": 0, "x": 0}
        return [*rows, {"layer": "sparse", "image_id": 0} | added]

    rewrite(out, "top", change)
    with open_index(out) as index:
        found = find_inconsistencies(index, top=K)
    assert any(f"the {side} list has" in each.what and each.unit == unit for each in found)


def top(out: Path, unit: int, *words: str) -> Any:
    result = CliRunner().invoke(app, ["top", str(out), "sparse", str(unit), *words])
    assert result.exit_code == 0
    return result


def test_top_says_that_a_unit_is_dead(out: Path) -> None:
    line = "unit 1 of sparse never activates: its peak is 0 on all 24 images\n"
    assert top(out, DEAD).stdout == line
    assert top(out, DEAD).stderr == ""
    assert top(out, DEAD, "--low").stdout == line
    shown = top(out, DEAD, "--json")
    assert (json.loads(shown.stdout), shown.stderr) == ([], line)
    assert top(out, DEAD, "--csv").stdout.count("\n") == 1
    assert top(out, CONSTANT).stdout == "unit 3 of sparse is constant: its peak is 7 on all 24 images\n"


def test_top_says_why_a_list_is_short(out: Path) -> None:
    shown = top(out, RARE, "-n", "5", "--json")
    assert len(json.loads(shown.stdout)) == 3
    assert shown.stderr == "unit 2 of sparse is above its minimum, 0, on 3 of 24 images\n"
    assert top(out, RARE, "--low").stdout == (
        "unit 2 of sparse has no lowest images: its peak is 0, the minimum, on 21 of 24 images\n"
    )
    many = top(out, DENSE, "-n", "100000", "--csv")
    assert many.stderr == "the index keeps 5 images per unit and side (--top); showing 5\n"
    assert many.stdout.count("\n") == 6
    assert top(out, DENSE, "-n", "5").stderr == ""


def test_queries_count_only_images_that_say_something(index: Index) -> None:
    dead = {row["unit"] for row in index.query("dead_units").dicts()}
    assert dead == {DEAD, CONSTANT, NEGATIVE}
    (card,) = index.query("unit_card", layer="sparse", unit=DEAD).dicts()
    empty = ("selectivity", "top_label", "majority_label", "precision")
    assert [card[name] for name in (*empty, "best_key", "best_label", "top_labels")] == [None] * 7
    for row in index.query("label_units", label="a").dicts():
        assert row["unit"] not in dead
        assert row["of"] == (3 if row["unit"] == RARE else K)
    hubs = index.query("hub_images", n=100).dicts()
    assert sum(row["units"] for row in hubs) == 3 + 3 * K
    pairs = index.query("shared_images", layer="sparse", at_least=1).dicts()
    assert {(row["unit"], row["other"], row["shared"]) for row in pairs} == {
        (DENSE, RARE, 3),
        (DENSE, MOST, 5),
        (RARE, MOST, 3),
    }


def test_units_with_more_images_of_a_label_come_first(data: Path, tmp_path: Path) -> None:
    """A share of 1 in a list of one image is not more than 4 of 5."""
    out = index_photographs(data, tmp_path)
    with open_index(out) as index:
        found = index.query("label_units", label="c").dicts()
    assert [row["in_top"] * row["share"] for row in found] == sorted(
        (row["in_top"] * row["share"] for row in found), reverse=True
    )


def test_sheets_and_projections_show_only_what_is_listed(index: Index, tmp_path: Path) -> None:
    cells = gather_cells(index, index.layer("sparse"), [DEAD, CONSTANT, RARE], {})
    assert [cell.subtitle for cell in cells[:2]] == [
        "dead: constant 0 on all images",
        "dead: constant 7 on all images",
    ]
    assert [len(cell.tiles) for cell in cells] == [0, 0, 3]
    files = draw_projections(
        index, layers="sparse", units=[DEAD], methods=["activation"], network=sparse_network()
    )
    assert files[0].stat().st_size > 0
