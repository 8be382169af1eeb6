"""A check finds nothing in an intact index and every discrepancy in a changed one."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.check.audit import Audit, check_index
from pipeline.check.findings import MAX_KEPT, Discrepancy
from pipeline.errors import SourceError, StoreError, WeightsError
from pipeline.runs.run import run_index
from tests.fixtures.runs import config
from tests.fixtures.tables import Row, chosen, edit_run, rewrite
from tests.fixtures.tiny import picture, tiny_network, write_tars

pytestmark = pytest.mark.slow

SIZES = [14, 11]
EVERYTHING = 10_000


@pytest.fixture(scope="module")
def true(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("true")
    data = write_tars(folder / "data", SIZES)
    run_index(config(data, folder / "out"), network=tiny_network())
    return folder / "out"


@pytest.fixture
def out(true: Path, tmp_path: Path) -> Path:
    """A copy of the index, to be changed."""
    return shutil.copytree(true, tmp_path / "out")


def about(found: Discrepancy) -> tuple[str, int, int]:
    return found.layer, found.unit, found.image_id


def check(out: Path, sample: int | None = EVERYTHING) -> Audit:
    return check_index(out, sample=sample, network=tiny_network())


def test_nothing_is_wrong_with_a_true_index(true: Path) -> None:
    audit = check(true)
    assert audit.images == sum(SIZES)
    lists, strata, units = (
        pq.read_table(true / f"{name}.parquet").num_rows for name in ("top", "strata", "units")
    )
    assert audit.peaks == lists + strata
    assert audit.absences == 2 * units * sum(SIZES) - lists
    assert (audit.discrepancies, audit.found, audit.notes) == ((), 0, ())
    assert audit.worst == 0  # whole numbers are exact
    assert audit.rebuilt
    assert (audit.shards, audit.all_shards) == (2, 2)


@pytest.mark.parametrize("score", ["max", "mean"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_nothing_is_wrong_with_other_scores_and_precisions(
    true: Path, tmp_path: Path, score: str, precision: str
) -> None:
    data = sorted((true.parent / "data").glob("*.tar"))
    asked = config(data, tmp_path, score=score, precision=precision, memory_format="contiguous")
    run_index(asked, network=tiny_network())
    assert check(tmp_path).discrepancies == ()


def test_a_sample_looks_at_fewer_images(true: Path) -> None:
    audit = check(true, sample=10)
    assert audit.images == 10
    assert audit.choice is not None
    assert audit.choice.listed_drawn == 5
    assert not audit.choice.complete
    assert check(true, sample=10) == audit, "the same seed chooses the same images"
    assert check_index(true, sample=10, seed=1, network=tiny_network()).choice != audit.choice


def test_without_a_sample_neither_network_nor_dataset_is_needed(out: Path, tmp_path: Path) -> None:
    edit_run(out, lambda run: run["dataset"].update(data=[str(tmp_path / "elsewhere")]))
    audit = check_index(out, sample=0)
    assert (audit.images, audit.shards, audit.found, audit.rebuilt) == (0, 0, 0, True)


def test_an_index_without_parts_says_so(out: Path) -> None:
    shutil.rmtree(out / "parts")
    audit = check(out)
    assert audit.found == 0
    assert not audit.rebuilt
    (note,) = audit.notes
    assert "has no parts: statistics, histograms and sums per label could not be compared" in note


def test_every_row_may_be_wrong(out: Path) -> None:
    """All are counted, but only some of each test are described."""

    def change(rows: list[Row]) -> list[Row]:
        return [{**row, "activation": row["activation"] + 0.125} for row in rows]

    rewrite(out, "top", change)
    audit = check(out, sample=0)
    rows = pq.read_table(out / "top.parquet").num_rows
    assert rows > MAX_KEPT
    by_parts = [found for found in audit.discrepancies if "by the parts" in found.what]
    assert len(by_parts) == MAX_KEPT
    assert audit.found > rows


@pytest.mark.parametrize("side", ["high", "low"])
@pytest.mark.parametrize("layer", ["first", "negative", "head"])
def test_a_changed_activation_is_found(out: Path, layer: str, side: str) -> None:
    def change(rows: list[Row]) -> list[Row]:
        row = chosen(rows, layer=layer, unit=1, side=side, rank=2)
        row["activation"] += 0.25
        self.append(row)
        return rows

    self: list[Row] = []
    rewrite(out, "top", change)
    discrepancies = check(out).discrepancies
    found = [each.what for each in discrepancies if about(each) == (layer, 1, self[0]["image_id"])]
    assert any(f"{side} peak" in what for what in found), "by the network"
    assert any(f"top side {side} rank 2: activation" in what for what in found), "by the parts"


def test_a_changed_position_is_found(out: Path) -> None:
    def change(rows: list[Row]) -> list[Row]:
        row = chosen(rows, layer="second", unit=0, side="low", rank=1)
        row["y"], row["x"] = (row["y"] + 3) % 7, (row["x"] + 2) % 7
        self.append(row)
        return rows

    self: list[Row] = []
    rewrite(out, "top", change)
    discrepancies = check(out).discrepancies
    assert {about(found) for found in discrepancies} == {("second", 0, self[0]["image_id"])}
    assert any(
        found.what.startswith(f"position ({self[0]['y']}, {self[0]['x']}) gives") for found in discrepancies
    )


def test_a_position_outside_the_grid_is_found(out: Path) -> None:
    def change(rows: list[Row]) -> list[Row]:
        chosen(rows, layer="second", unit=0, side="high", rank=1)["x"] = 99
        return rows

    rewrite(out, "top", change)
    assert any("outside the grid" in found.what for found in check(out).discrepancies)


@pytest.mark.parametrize("side", ["high", "low"])
def test_a_dropped_row_is_found(out: Path, side: str) -> None:
    def change(rows: list[Row]) -> list[Row]:
        row = chosen(rows, layer="head", unit=2, side=side, rank=1)
        self.append(row)
        return [each for each in rows if each is not row]

    self: list[Row] = []
    rewrite(out, "top", change)
    discrepancies = check(out).discrepancies
    assert ("head", 2, self[0]["image_id"]) in [
        (found.layer, found.unit, found.image_id) for found in discrepancies
    ]
    assert any(f"belongs on the {side} list" in found.what for found in discrepancies)


def test_a_list_that_lost_its_last_row_is_found(out: Path) -> None:
    rewrite(
        out,
        "top",
        lambda rows: [row for row in rows if (row["unit"], row["rank"]) != (0, 5)],
    )
    assert any("4 images, expected 5" in found.what for found in check(out).discrepancies)


def test_a_swapped_image_is_found(out: Path) -> None:
    """The images keep their rows, but two of them exchange where their bytes are."""

    def change(rows: list[Row]) -> list[Row]:
        first, second = rows[2], rows[9]
        for name in ("offset", "bytes"):
            first[name], second[name] = second[name], first[name]
        return rows

    rewrite(out, "images", change)
    audit = check(out)
    assert {2, 9} <= {found.image_id for found in audit.discrepancies} <= {-1, 2, 9}


def test_an_image_under_anothers_number_is_found(out: Path) -> None:
    def change(rows: list[Row]) -> list[Row]:
        high = [row for row in rows if (row["layer"], row["side"]) == ("head", "high")]
        for row in high:
            row["image_id"] = {0: 1, 1: 0}.get(row["image_id"], row["image_id"])
        return rows

    rewrite(out, "top", change)
    by_network = [found for found in check(out).discrepancies if ", now" in found.what]
    assert {0, 1} & {found.image_id for found in by_network}


def test_a_missing_photograph_is_named(true: Path, tmp_path: Path) -> None:
    folder = tmp_path / "photos" / "cat"
    folder.mkdir(parents=True)
    for number in range(6):
        (folder / f"{number}.png").write_bytes(picture(number))
    asked = config([tmp_path / "photos"], tmp_path / "out")
    run_index(asked, network=tiny_network())
    assert check(tmp_path / "out").discrepancies == ()
    (folder / "3.png").unlink()
    found = [str(each) for each in check(tmp_path / "out").discrepancies]
    assert any("shard photos/00000 has" in each for each in found)
    assert any("the check ended here: image 3 cannot be read back: " in each for each in found)
    shutil.rmtree(tmp_path / "out" / "parts")
    shutil.rmtree(tmp_path / "photos")
    with pytest.raises(SourceError, match="does not exist"):
        check(tmp_path / "out")


def test_bytes_that_changed_in_place_are_found(tmp_path: Path) -> None:
    data = write_tars(tmp_path / "data", [14, 11])
    run_index(config(data, tmp_path / "index"), network=tiny_network())
    write_tars(tmp_path / "data", [14, 11], seed=100)
    discrepancies = check(tmp_path / "index").discrepancies
    changed = [found for found in discrepancies if "the bytes read back" in found.what]
    assert len(changed) == sum(SIZES)
    assert str(changed[0]).startswith(
        "image 0: image '00000' of shard tiny-000.tar: the bytes read back are not those that were indexed"
    )


def test_another_network_is_refused(true: Path) -> None:
    with pytest.raises(WeightsError, match="not those that were indexed"):
        check_index(true, network=tiny_network(seed=1))


def test_an_index_that_is_not_finished_is_refused(out: Path, tmp_path: Path) -> None:
    edit_run(out, lambda run: run.update(status="incomplete"))
    with pytest.raises(StoreError, match="not finished"):
        check(out)
    with pytest.raises(StoreError, match="does not exist"):
        check(tmp_path / "nowhere")


def test_statistics_that_were_changed_are_found(out: Path) -> None:
    def change(rows: list[Row]) -> list[Row]:
        chosen(rows, layer="first", unit=3)["max"] = np.float32(-100)
        return rows

    rewrite(out, "units", change)
    assert any("maximum" in found.what for found in check(out).discrepancies)
