"""A check finds nothing in an intact index and every discrepancy in a changed one."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.check.rerun import Audit, check_index
from pipeline.errors import AuditError, StoreError, WeightsError
from pipeline.runs.run import run_index
from tests.fixtures.runs import config
from tests.fixtures.tables import Row, chosen, edit_run, rewrite
from tests.fixtures.tiny import picture, tiny_network, write_tars

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


def check(out: Path, sample: int = EVERYTHING) -> Audit:
    return check_index(out, sample=sample, network=tiny_network())


def test_nothing_is_wrong_with_a_true_index(true: Path) -> None:
    audit = check(true)
    assert audit.images == sum(SIZES)
    assert audit.peaks == pq.read_table(true / "top.parquet").num_rows
    assert audit.discrepancies == ()
    assert audit.worst == 0  # whole numbers are exact
    units = pq.read_table(true / "units.parquet").num_rows
    assert audit.absences == 2 * units * sum(SIZES) - audit.peaks


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
    audit = check(true, sample=40)
    assert 40 <= audit.peaks < 200
    assert audit.images < sum(SIZES)
    assert check(true, sample=40) == audit, "the same seed chooses the same images"


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
    assert (layer, 1, self[0]["image_id"]) in [
        (found.layer, found.unit, found.image_id) for found in discrepancies
    ]
    assert any(f"{side} peak" in found.what for found in discrepancies)


def test_a_changed_position_is_found(out: Path) -> None:
    def change(rows: list[Row]) -> list[Row]:
        row = chosen(rows, layer="second", unit=0, side="low", rank=1)
        row["y"], row["x"] = (row["y"] + 3) % 7, (row["x"] + 2) % 7
        self.append(row)
        return rows

    self: list[Row] = []
    rewrite(out, "top", change)
    (found,) = check(out).discrepancies
    assert (found.layer, found.unit, found.image_id) == ("second", 0, self[0]["image_id"])
    assert found.what.startswith(f"position ({self[0]['y']}, {self[0]['x']}) gives")


def test_a_position_outside_the_grid_is_found(out: Path) -> None:
    def change(rows: list[Row]) -> list[Row]:
        chosen(rows, layer="second", unit=0, side="high", rank=1)["x"] = 99
        return rows

    rewrite(out, "top", change)
    (found,) = check(out).discrepancies
    assert "outside the grid" in found.what


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
    assert {found.image_id for found in audit.discrepancies} == {2, 9}


def test_an_image_under_anothers_number_is_found(out: Path) -> None:
    def change(rows: list[Row]) -> list[Row]:
        high = [row for row in rows if (row["layer"], row["side"]) == ("head", "high")]
        for row in high:
            row["image_id"] = {0: 1, 1: 0}.get(row["image_id"], row["image_id"])
        return rows

    rewrite(out, "top", change)
    assert {found.image_id for found in check(out).discrepancies} == {0, 1}


def test_a_changed_photograph_is_an_error_that_names_it(true: Path, tmp_path: Path) -> None:
    folder = tmp_path / "photos" / "cat"
    folder.mkdir(parents=True)
    for number in range(6):
        (folder / f"{number}.png").write_bytes(picture(number))
    asked = config([tmp_path / "photos"], tmp_path / "out")
    run_index(asked, network=tiny_network())
    assert check(tmp_path / "out").discrepancies == ()
    (folder / "3.png").unlink()
    with pytest.raises(AuditError, match=r"image 3 cannot be read back: .*cat/3.png"):
        check(tmp_path / "out")


def test_bytes_that_changed_in_place_are_found(tmp_path: Path) -> None:
    data = write_tars(tmp_path / "data", [14, 11])
    run_index(config(data, tmp_path / "index"), network=tiny_network())
    write_tars(tmp_path / "data", [14, 11], seed=100)
    discrepancies = check(tmp_path / "index").discrepancies
    assert len(discrepancies) == sum(SIZES)
    assert str(discrepancies[0]).startswith(
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
