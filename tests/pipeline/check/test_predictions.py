"""Forged predictions, in an index without parts and in one whose parts were forged as well."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipeline.check.audit import check_index
from pipeline.networks.network import Network
from pipeline.runs.run import run_index
from pipeline.state.commit import commit_part, list_commits, remove_part
from tests.fixtures.forgeries import merge_again
from tests.fixtures.runs import config
from tests.fixtures.tables import chosen, rewrite
from tests.fixtures.tiny import PREPROCESS, tiny_network, write_tars

pytestmark = pytest.mark.slow

CLASSES = ("a", "b", "other")
IMAGE = 3
Rows = list[dict[str, Any]]


def classifier() -> Network:
    return Network.from_module(tiny_network().module, PREPROCESS, name="tiny", classes=CLASSES)


@pytest.fixture(scope="module")
def true(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("predictions")
    tars = write_tars(folder / "data", [6, 5])
    run_index(config(tars, folder / "out", shards_per_part=2), network=classifier())
    return folder / "out"


def found(out: Path) -> str:
    return "; ".join(map(str, check_index(out, sample=None, network=classifier()).discrepancies))


def first(rows: Rows, rank: int = 1) -> dict[str, Any]:
    return chosen(rows, image_id=IMAGE, rank=rank)


def swap(rows: Rows) -> None:
    one, two = first(rows), first(rows, 2)
    one["unit"], two["unit"] = two["unit"], one["unit"]
    one["name"], two["name"] = two["name"], one["name"]


FORGERIES: dict[str, Callable[[Rows], object]] = {
    "a score": lambda rows: first(rows).update(score=first(rows)["score"] + 0.5),
    "two classes": swap,
    "a name": lambda rows: first(rows).update(name="b" if first(rows)["name"] != "b" else "a"),
    "a probability": lambda rows: first(rows, 2).update(probability=1.0),
    "correct": lambda rows: first(rows).update(correct=not first(rows)["correct"]),
    "a missing class": lambda rows: rows.remove(first(rows, 3)),
    "a missing image": lambda rows: [rows.remove(first(rows, rank)) for rank in (1, 2, 3)],
    "a rank": lambda rows: first(rows, 3).update(rank=4),
    "an image that does not exist": lambda rows: [
        first(rows, rank).update(image_id=(1 << 24) + 99) for rank in (1, 2, 3)
    ],
    "no score": lambda rows: first(rows).update(score=None),
}


def test_nothing_is_wrong_with_the_true_index(true: Path) -> None:
    assert found(true) == ""


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forged_table_is_found_without_parts(true: Path, tmp_path: Path, name: str) -> None:
    out = shutil.copytree(true, tmp_path / "out")
    shutil.rmtree(out / "parts")

    def change(rows: Rows) -> Rows:
        FORGERIES[name](rows)
        return rows

    rewrite(out, "predictions", change)
    assert found(out)


def test_a_forged_part_is_found_when_its_image_is_run_again(true: Path, tmp_path: Path) -> None:
    """Scores between two others of the image, which no rule can tell from true ones of an unlisted image."""
    out = shutil.copytree(true, tmp_path / "out")
    (commit,) = list_commits(out / "parts")
    part = commit.load()
    rows = part.images.to_pylist()
    rows[IMAGE]["scores"][2] -= 0.25
    forged = replace(part, images=pa.Table.from_pylist(rows, part.images.schema))
    remove_part(commit.path)
    merge_again(out, (commit_part(out / "parts", forged, commit.fingerprint),))
    assert "predicted with" in found(out)
