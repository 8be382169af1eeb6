"""Predictions: against a plain forward pass, by groups of shards, and which labels are classes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pipeline.config import RunConfig
from pipeline.data.dataset import open_dataset
from pipeline.images.decode import decode
from pipeline.networks.network import Network
from pipeline.query.index import open_index
from pipeline.runs.merge import merge_runs
from pipeline.runs.predictions import units_of_labels
from pipeline.runs.run import run_index
from tests.fixtures.runs import config, hashes, rows
from tests.fixtures.tiny import PREPROCESS, tiny_network, write_tars

CLASSES = ("A, first", "b", "other")


def classifier() -> Network:
    return Network.from_module(tiny_network().module, PREPROCESS, name="tiny", classes=CLASSES)


@pytest.fixture(scope="module")
def tars(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_tars(tmp_path_factory.mktemp("data"), [5, 9, 4])


def run(tars: list[Path], out: Path, **changes: object) -> Path:
    asked: RunConfig = config(tars, out, **changes)
    run_index(asked, network=classifier())
    return out


def test_rows_equal_a_plain_forward_pass(tars: list[Path], tmp_path: Path) -> None:
    out = run(tars, tmp_path / "out")
    module, found = classifier().module, iter(rows(out, "predictions"))
    place = 0
    for shard in open_dataset(tars).shards:
        for sample in shard.samples():
            pixels = decode(sample.data, PREPROCESS)
            with torch.no_grad():
                (scores,) = module((pixels[None].float() - 128) / 1)
            label = "abc"[place % 3]
            for rank, unit in enumerate(sorted(range(3), key=lambda unit: (-scores[unit], unit)), start=1):
                row = next(found)
                assert (row["rank"], row["unit"], row["score"]) == (rank, unit, float(scores[unit]))
                assert row["name"] == CLASSES[unit]
                assert row["probability"] == pytest.approx(float(scores.double().softmax(0)[unit]), rel=1e-6)
                assert row["correct"] == {"a": unit == 0, "b": unit == 1, "c": None}[label]
            place += 1
    assert next(found, None) is None


@pytest.mark.slow
def test_they_do_not_depend_on_groups_batches_or_merging(tars: list[Path], tmp_path: Path) -> None:
    whole = run(tars, tmp_path / "whole", shards_per_part=3)
    parts = run(tars, tmp_path / "parts", shards_per_part=1, batch_size=2)
    assert rows(parts, "predictions") == rows(whole, "predictions")
    halves = [run(tars[:1], tmp_path / "one"), run(tars[1:], tmp_path / "two")]
    merge_runs(tmp_path / "merged", halves)
    assert hashes(tmp_path / "merged")["predictions"] == hashes(whole)["predictions"]


def test_without_names_of_classes_there_are_none(tars: list[Path], tmp_path: Path) -> None:
    run_index(config(tars, tmp_path / "out"), network=tiny_network())
    assert rows(tmp_path / "out", "predictions") == []
    with open_index(tmp_path / "out") as index:
        assert index.query("misclassified").rows == []


def test_a_last_layer_with_positions_predicts_nothing(tars: list[Path], tmp_path: Path) -> None:
    out = run(tars, tmp_path / "out", layers=("first",))
    assert rows(out, "predictions") == []


@pytest.mark.parametrize(
    ("labels", "names", "wanted"),
    [
        (["0", "1", "2"], ("x", "y", "z"), {"0": (0,), "1": (1,), "2": (2,)}),
        (["0", "1"], ("x", "y", "z"), {}),  # the last class is 2: these are other numbers
        (["Tabby", "lynx", "boat"], ("tabby, tabby cat", "lynx, catamount"), {"Tabby": (0,), "lynx": (1,)}),
        (["tabby_cat"], ("tabby, tabby cat", "lynx"), {"tabby_cat": (0,)}),
        (["crane"], ("crane", "heron", "crane"), {"crane": (0, 2)}),
        (["n01440764"], ("tench", "goldfish"), {}),  # ids are those of 1000 classes
        (
            ["n01443537", "n01440764_tench", "n99999999"],
            tuple(map(str, range(1000))),
            {"n01443537": (1,), "n01440764_tench": (0,)},
        ),
        ([], ("x",), {}),
    ],
)
def test_which_classes_labels_are(
    labels: list[str], names: tuple[str, ...], wanted: dict[str, tuple[int, ...]]
) -> None:
    assert units_of_labels(labels, names) == wanted
