"""A dataset that was copied elsewhere is read under the names of shards that it was indexed with."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path

import pytest

from pipeline.data.dataset import Dataset, Sample, open_dataset
from pipeline.data.moved import open_moved
from pipeline.errors import SourceError, UsageError
from tests.fixtures.tiny import picture, write_tars


def contents(dataset: Dataset) -> dict[str, list[tuple[str, bytes]]]:
    """Keys and bytes of every shard, read back by offset."""
    found = {}
    for shard in dataset.shards:
        samples = [sample for sample in shard.samples() if isinstance(sample, Sample)]
        found[shard.name] = [
            (each.key, dataset.read(shard.name, each.key, each.offset, len(each.data))) for each in samples
        ]
    return found


def photographs(folder: Path, seed: int = 0) -> Path:
    for number, label in itertools.product(range(3), "ab"):
        (folder / label).mkdir(parents=True, exist_ok=True)
        (folder / label / f"{number}.png").write_bytes(picture(seed + 2 * number + (label == "b")))
    return folder


def build(root: Path) -> None:
    write_tars(root / "train", [2, 3])
    write_tars(root / "val", [2], seed=9)
    photographs(root / "photos", seed=30)
    photographs(root / "more" / "photos", seed=50)


@pytest.mark.parametrize(
    ("indexed", "given"),
    [
        (["photos"], ["photos"]),
        (["photos/"], ["renamed"]),
        (["photos", "more/photos"], ["photos", "more/photos"]),
        (["photos", "more/photos"], ["renamed", "more/photos"]),
        (["photos", "more/photos"], [""]),
        (["train"], ["train"]),
        (["train", "val"], ["train", "val"]),
        (["train", "val"], [""]),
        (["train/tiny-{000..001}.tar"], ["train"]),
        (["train/tiny-{000..001}.tar"], ["train/tiny-{000..001}.tar"]),
        (["train/*.tar"], ["train"]),
        (["*/tiny-*.tar"], [""]),
        (["train/tiny-000.tar", "train/tiny-001.tar"], ["train"]),
        (["train/tiny-000.tar", "val/tiny-000.tar"], [""]),
        (["train/tiny-000.tar"], ["train"]),
        (["train/tiny-000.tar"], ["train/other.tar"]),
        (["more/*"], ["more"]),
    ],
)
def test_every_shard_is_found_under_its_name(tmp_path: Path, indexed: list[str], given: list[str]) -> None:
    before, now = tmp_path / "cluster" / "data", tmp_path / "laptop"
    build(before)
    dataset = open_dataset([f"{before}/{item}" for item in indexed])
    wanted = contents(dataset)
    shutil.move(before, now)
    shutil.copytree(now / "photos", now / "renamed")
    shutil.copy(now / "train" / "tiny-000.tar", now / "train" / "other.tar")
    if "other.tar" not in "".join(given):
        (now / "train" / "other.tar").unlink()
    moved = open_moved(dataset.data, [f"{now}/{item}" if item else str(now) for item in given])
    assert contents(moved) == wanted
    assert moved.name == dataset.name


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    build(tmp_path)
    dataset = open_dataset([tmp_path / "train", tmp_path / "val", tmp_path / "photos" / "a"])
    with pytest.raises(UsageError, match=r"2 given, but 3 were indexed"):
        open_moved(dataset.data, [str(tmp_path / "train"), str(tmp_path / "val")])
    with pytest.raises(UsageError, match="the path is empty"):
        open_moved(dataset.data, ["", "", ""])
    with pytest.raises(SourceError, match=r"nowhere/train does not exist"):
        open_moved(dataset.data, [str(tmp_path / "nowhere")])


def test_urls_are_read_from_a_folder(tmp_path: Path) -> None:
    build(tmp_path)
    recorded = ("https://host/data/tiny-{000..001}.tar",)
    moved = open_moved(recorded, [str(tmp_path / "train")])
    assert [shard.name for shard in moved.shards] == ["tiny-000.tar", "tiny-001.tar"]
