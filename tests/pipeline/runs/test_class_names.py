"""Names of classes in an index: of the classifier's units, and of labels that are numbers."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from pipeline.check.audit import check_index
from pipeline.config import RunConfig
from pipeline.images.preprocess import Preprocess
from pipeline.networks.network import Network
from pipeline.progress import Silent
from pipeline.query.index import open_index
from pipeline.runs.label_names import name_labels, names_by_label
from pipeline.runs.merge import merge_runs
from pipeline.runs.repair import repair_index
from pipeline.runs.run import run_index
from pipeline.state.label_sums import LabelSums
from tests.fixtures.runs import config, hashes, rows
from tests.fixtures.tables import rewrite
from tests.fixtures.tiny import picture, tiny_network

pytestmark = pytest.mark.slow


class Notes(Silent):
    """Keeps what is noted."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, text: str) -> None:
        self.said.append(text)


@pytest.fixture
def tars(tmp_path: Path) -> list[Path]:
    """Shards with labels 0, 1, 2 in `.cls`."""
    paths = []
    for shard in range(2):
        path = tmp_path / "data" / f"{shard}.tar"
        path.parent.mkdir(exist_ok=True)
        with tarfile.open(path, "w") as archive:
            for number in range(9):
                label = str(number % 3).encode()
                for suffix, data in (("png", picture(20 * shard + number)), ("cls", label)):
                    member = tarfile.TarInfo(f"{shard}{number}.{suffix}")
                    member.size = len(data)
                    archive.addfile(member, io.BytesIO(data))
        paths.append(path)
    return paths


def named(tars: list[Path], tmp_path: Path, names: str | None, out: str = "out") -> RunConfig:
    if names is None:
        return config(tars, tmp_path / out)
    file = tmp_path / "names.txt"
    file.write_text(names)
    return config(tars, tmp_path / out, class_names=str(file))


def test_units_and_labels_have_their_names(tars: list[Path], tmp_path: Path) -> None:
    notes = Notes()
    run_index(named(tars, tmp_path, "tench\npizza\nkite\n"), network=tiny_network(), reporter=notes)
    assert any("labels are numbers up to 2: the class names are used" in note for note in notes.said)
    run_index(named(tars, tmp_path, None, "plain"), network=tiny_network())
    names = {"0": "tench", "1": "pizza", "2": "kite", None: None}
    plain = rows(tmp_path / "plain", "images")
    assert [row["label"] for row in rows(tmp_path / "out", "images")] == [
        names[row["label"]] for row in plain
    ]  # type: ignore[index]
    # Of equal means, that of the first label comes first: names and numbers have other orders.
    text = "SELECT layer, unit, label, images, mean_peak FROM classes ORDER BY layer, unit, -mean_peak, label"
    with open_index(tmp_path / "out") as index, open_index(tmp_path / "plain") as numbers:
        found, before = index.sql(text).rows, numbers.sql(text).rows
        assert {(*row[:2], names[row[2]], *row[3:]) for row in before} == {*found}
        in_file = sorted(index.sql("SELECT layer, unit, label FROM classes").rows, key=lambda row: row[:2])
        assert in_file == [row[:3] for row in found]
        first = "SELECT layer, unit, first(label ORDER BY -mean_peak, label) FROM classes GROUP BY ALL"
        live = 'SELECT layer, unit, top_label FROM units WHERE "min" < "max"'
        assert {*index.sql(live).rows} <= {*index.sql(first).rows}
    with open_index(tmp_path / "out") as index:
        assert index.sql("SELECT * FROM class_names ORDER BY unit").rows == [
            ("head", 0, "tench"),
            ("head", 1, "pizza"),
            ("head", 2, "kite"),
        ]
        assert index.unit_name("head", 1) == "unit 1 (pizza)"
        assert index.unit_name("first", 1) == "unit 1"
        (card,) = index.query("unit_card", layer="head", unit=1).dicts()
        assert card["name"] == "pizza"
        assert index.unit("head", "pizza").number == 1
    with open_index(tmp_path / "plain") as index:
        assert index.sql("SELECT * FROM class_names").rows == []
        (card,) = index.query("unit_card", layer="head", unit=1).dicts()
        assert card["name"] is None


class TwoHeads(nn.Module):
    """Adds two classifiers; the map before them has as many units as they have."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(3, 3, 3), nn.ReLU())
        self.head, self.head_of_teacher = nn.Linear(3, 3), nn.Linear(3, 3)

    def forward(self, images: Tensor) -> Tensor:
        features = self.conv(images).mean((2, 3))
        mean: Tensor = (self.head(features) + self.head_of_teacher(features)) / 2
        return mean


def test_the_units_of_both_classifiers_of_a_pair_have_names(tars: list[Path], tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = Network.from_module(TwoHeads(), Preprocess(32, 32, 32), classes=("tench", "pizza", "kite"))
    run_index(replace(named(tars, tmp_path, None), layers=()), network=network)
    with open_index(tmp_path / "out") as index:
        assert [layer.name for layer in index.layers] == ["conv.1", "head", "head_of_teacher"]
        found = index.sql("SELECT layer, name FROM class_names ORDER BY layer, unit").rows
        classes = ("tench", "pizza", "kite")
        assert found == [(layer, name) for layer in ("head", "head_of_teacher") for name in classes]
        assert [index.unit_name(layer.name, 2) for layer in index.layers] == [
            "unit 2",
            *["unit 2 (kite)"] * 2,
        ]


def test_names_are_changed_without_indexing_again(tars: list[Path], tmp_path: Path) -> None:
    run_index(named(tars, tmp_path, None), network=tiny_network())
    before = hashes(tmp_path / "out")
    parts = sorted(path.stat().st_mtime_ns for path in (tmp_path / "out" / "parts").rglob("*"))
    run_index(named(tars, tmp_path, "a\nb\nc\n"), network=tiny_network())
    assert {row["label"] for row in rows(tmp_path / "out", "images")} == {"a", "b", "c"}
    run_index(named(tars, tmp_path, "x\ny\nz\n"), network=tiny_network())
    assert {row["label"] for row in rows(tmp_path / "out", "images")} == {"x", "y", "z"}
    again = sorted(path.stat().st_mtime_ns for path in (tmp_path / "out" / "parts").rglob("*"))
    assert parts == again
    run_index(named(tars, tmp_path, None), network=tiny_network())
    assert hashes(tmp_path / "out") == before


def test_names_that_do_not_fit_are_told(tars: list[Path], tmp_path: Path) -> None:
    notes = Notes()
    run_index(named(tars, tmp_path, "a\nb\nc\nd\n"), network=tiny_network(), reporter=notes)
    said = " ".join(notes.said)
    assert (
        "there are 4 class names, the last layer, head, has 3 units: the names are not used for units" in said
    )
    assert "labels are kept: they are not whole numbers up to 3" in said
    assert {row["label"] for row in rows(tmp_path / "out", "images")} == {"0", "1", "2"}


def test_merged_runs_keep_their_names(tars: list[Path], tmp_path: Path) -> None:
    for number, tar in enumerate(tars):
        run_index(named([tar], tmp_path, "a\nb\nc\n", f"part{number}"), network=tiny_network())
    run_index(named(tars, tmp_path, "a\nb\nc\n"), network=tiny_network())
    merge_runs(tmp_path / "merged", [tmp_path / "part0", tmp_path / "part1"])
    found, expected = (rows(tmp_path / out, "classes") for out in ("merged", "out"))
    assert found == expected
    content = json.loads((tmp_path / "merged" / "run.json").read_text())
    assert content["network"]["classes"] == ["a", "b", "c"]


@given(st.lists(st.text("ab0", max_size=2), min_size=1), st.sets(st.integers(0, 9)))
def test_named_labels_are_distinct_and_in_place(names: list[str], numbers: set[int]) -> None:
    labels = [str(number) for number in numbers]
    found = names_by_label(labels, names)
    if not numbers or max(numbers) != len(names) - 1:
        assert found is None
        return
    assert found is not None
    assert len({*found.values()}) == len(labels) or any("(" in name for name in names)
    assert all(found[label].startswith(names[int(label)]) for label in labels)


def test_labels_that_are_not_the_numbers_of_the_names() -> None:
    assert names_by_label(["0", "cat"], ["a", "b"]) is None
    assert names_by_label(["0", "1", "01"], ["a", "b"]) is None
    assert names_by_label(["1"], ["crane", "crane"]) == {"1": "crane (1)"}


def test_a_repair_writes_the_names_again(tars: list[Path], tmp_path: Path) -> None:
    run_index(named(tars, tmp_path, "tench\npizza\nkite\n"), network=tiny_network())
    before = hashes(tmp_path / "out")
    (tmp_path / "out" / "images.parquet").write_bytes(b"damaged")
    assert repair_index(tmp_path / "out").identical
    assert hashes(tmp_path / "out") == before


@pytest.mark.parametrize("parts", [True, False])
def test_nothing_is_wrong_with_named_labels(tars: list[Path], tmp_path: Path, parts: bool) -> None:
    out = tmp_path / "out"
    run_index(named(tars, tmp_path, "tench\npizza\nkite\n"), network=tiny_network())
    if not parts:
        shutil.rmtree(out / "parts")
    assert check_index(out, sample=None, network=tiny_network()).discrepancies == ()


def test_an_exchanged_name_is_found(tars: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    run_index(named(tars, tmp_path, "tench\npizza\nkite\n"), network=tiny_network())
    exchanged = {"tench": "kite", "kite": "tench"}
    rewrite(
        out,
        "images",
        lambda found: [row | {"label": exchanged.get(row["label"], row["label"])} for row in found],
    )
    found = " ".join(map(str, check_index(out, network=tiny_network()).discrepancies))
    assert "are not those that were read" in found
    assert "label is '2', in the dataset '0'" in found


def test_sums_of_named_labels_are_in_the_order_of_names() -> None:
    sums = LabelSums(
        ("0", "1"), np.array([[2, 3], [1, 0]]), np.array([[[1.0], [5.0]], [[2.0], [0.0]]]), np.ones((2, 1))
    )
    named, _ = name_labels(sums, ["tench", "kite"], Silent())
    assert named.labels == ("kite", "tench")
    assert named.images.tolist() == [[3, 2], [0, 1]]
    assert [named.read(half).tolist() for half in (0, 1)] == [[[5.0], [1.0]], [[0.0], [2.0]]]
