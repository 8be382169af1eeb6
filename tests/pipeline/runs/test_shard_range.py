"""Runs over ranges of the shards, and their merge, against one run over all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.check.audit import check_index
from pipeline.config import RunConfig
from pipeline.data.dataset import Dataset, open_dataset
from pipeline.data.tar import TarShard
from pipeline.errors import UsageError
from pipeline.runs.merge import merge_runs
from pipeline.runs.run import run_index
from pipeline.runs.shard_groups import divide, in_range, shards_per_part
from pipeline.store.run_file import read_run
from tests.fixtures.commands import done, refused, run
from tests.fixtures.runs import config, hashes
from tests.fixtures.tiny import tiny_network, write_tars

TINY = "tests.fixtures.tiny:factory"


@pytest.fixture(scope="module")
def tars(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_tars(tmp_path_factory.mktemp("data"), [4, 3, 5, 2, 6, 3, 4])


def dataset_of(count: int) -> Dataset:
    shards = tuple(TarShard(name=f"s{number:05}.tar", size=1, url="x") for number in range(count))
    return Dataset("some", shards, ("x",))


@given(st.integers(1, 400), st.integers(1, 70), st.integers(1, 40))
def test_ranges_are_whole_groups_that_cover_the_dataset_once(shards: int, size: int, count: int) -> None:
    dataset = dataset_of(shards)
    groups = divide(dataset.shards, size)
    if count > len(groups):
        with pytest.raises(UsageError, match="give at most as many ranges"):
            in_range(dataset, 1, count, size)
        return
    ranges = [in_range(dataset, number, count, size).shards for number in range(1, count + 1)]
    assert tuple(shard for each in ranges for shard in each) == dataset.shards
    assert [group for each in ranges for group in divide(each, size)] == groups
    lengths = [len(divide(each, size)) for each in ranges]
    assert min(lengths) >= 1
    assert max(lengths) - min(lengths) <= 1


@pytest.mark.slow
@pytest.mark.parametrize("ranges", [2, 3])
def test_merged_ranges_are_the_index_of_one_run_bit_for_bit(
    tars: list[Path], tmp_path: Path, ranges: int
) -> None:
    asked = {"shards_per_part": 2, "class_names": None}
    run_index(config(tars, tmp_path / "whole", **asked), network=tiny_network())
    outs = []
    for number in range(1, ranges + 1):
        outs.append(tmp_path / f"range-{number}")
        part = config(tars, outs[-1], shard_range=f"{number}/{ranges}", **asked)
        summary = run_index(part, network=tiny_network())
        assert summary.images == read_run(outs[-1])["counts"]["images"]
        again = run_index(part, network=tiny_network())
        assert again.images == summary.images
        assert check_index(outs[-1], network=tiny_network(), sample=0).discrepancies == ()
    # In any order.
    merge_runs(tmp_path / "merged", outs[::-1])
    assert hashes(tmp_path / "merged") == hashes(tmp_path / "whole")
    merged = read_run(tmp_path / "merged")
    assert merged["config"]["shard_range"] is None
    assert merged["fingerprint"] == read_run(tmp_path / "whole")["fingerprint"]
    assert sorted(merged["parts"]) == sorted(read_run(tmp_path / "whole")["parts"])
    assert check_index(tmp_path / "merged", network=tiny_network(), sample=None).discrepancies == ()


def test_the_size_of_a_part_follows_from_the_whole_dataset(tars: list[Path], tmp_path: Path) -> None:
    """Seven shards make parts of one; a range of them alone would too, but 400 would not."""
    large = dataset_of(400)
    size = shards_per_part(large, config(tars, tmp_path))
    assert size == 13
    assert len(in_range(large, 2, 4, size).shards) % size == 0


def test_another_range_of_the_same_folder_is_refused(tars: list[Path], tmp_path: Path) -> None:
    run_index(config(tars, tmp_path / "out", shard_range="1/3"), network=tiny_network())
    before = json.loads((tmp_path / "out" / "run.json").read_text())
    with pytest.raises(Exception, match="holds the finished index of another dataset"):
        run_index(config(tars, tmp_path / "out", shard_range="2/3"), network=tiny_network())
    assert json.loads((tmp_path / "out" / "run.json").read_text()) == before


@pytest.mark.parametrize(
    "text", ["", "3", "0/4", "5/4", "-1/4", "1/0", "a/b", "1/2/3", "1 / 2", "1/99999999999"]
)
def test_what_is_no_range(text: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--shard-range must be I/N"):
        RunConfig(data="demo", out=tmp_path, shard_range=text)


@pytest.mark.slow
def test_from_the_command_line(tars: list[Path], tmp_path: Path) -> None:
    words = ("index", *tars, "--network", TINY, "--layers", "rectify", "--compile", "off", "--workers", "1")
    done(*words, "-o", tmp_path / "a", "--shard-range", "1/2")
    done(*words, "-o", tmp_path / "b", "--shard-range", "2/2")
    done("merge", tmp_path / "all", tmp_path / "a", tmp_path / "b")
    shards = {shard.name for shard in open_dataset(tars).shards}
    found = done("sql", tmp_path / "all", "SELECT DISTINCT shard FROM images", "--csv").stdout.split()[1:]
    assert {*found} == shards
    said = refused(run(*words, "-o", tmp_path / "c", "--shard-range", "1/8"), code=2)
    assert "is divided into 7 groups of shards" in said
    assert not (tmp_path / "c").exists()
