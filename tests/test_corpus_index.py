"""Bad input through a whole run: rows, named shards, full disks and Ctrl-C; never a traceback."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import RunConfig
from pipeline.errors import ShardError, SourceError
from pipeline.geometry import Preprocess
from pipeline.manifest import RunSummary, read_run
from pipeline.networks import Network
from pipeline.parts import list_commits
from pipeline.run import run_index
from tests.corpus import Case, build_corpus
from tests.test_index import config, rows
from tests.tiny import PREPROCESS, tiny_network, write_tars

SIDE = 32


def wider_network() -> Network:
    """Large enough that the strip of the corpus does not fit when it is resized."""
    preprocess = Preprocess(SIDE, SIDE, SIDE, mean=PREPROCESS.mean, std=PREPROCESS.std)
    return replace(tiny_network(), preprocess=preprocess)


def run(config: RunConfig, network: Network | None = None) -> RunSummary:
    return run_index(config, network=network or tiny_network())


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> list[Case]:
    return build_corpus(tmp_path_factory.mktemp("corpus"))


@dataclass
class Indexed:
    summary: RunSummary
    images: dict[str, list[dict[str, Any]]]
    errors: dict[str, list[dict[str, Any]]]


def by_case(table: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Rows by the file or folder that a case consists of."""
    found: dict[str, list[dict[str, Any]]] = {}
    for row in table:
        found.setdefault(row["shard"].partition("/")[0], []).append(row)
    return found


@pytest.fixture(scope="module")
def readable(corpus: list[Case], tmp_path_factory: pytest.TempPathFactory) -> Indexed:
    """One index over every case that can be read to its end."""
    out = tmp_path_factory.mktemp("index")
    data = [case.path for case in corpus if case.outcome in ("image", "error")]
    summary = run(
        config(data, out, max_bad_fraction=1.0, shards_per_part=50, workers=1), wider_network()
    )
    return Indexed(summary, by_case(rows(out, "images")), by_case(rows(out, "errors")))


def test_every_image_that_can_be_used_is_indexed(corpus: list[Case], readable: Indexed) -> None:
    cases = [case for case in corpus if case.outcome == "image"]
    assert len(cases) >= 60
    for case in cases:
        found = {row["key"]: row for row in readable.images.get(case.path.name, [])}
        assert len(found) == case.good, case.name
        assert case.path.name not in readable.errors, case.name
        if case.good:
            row = found[case.key]
            assert (row["width"], row["height"]) == case.size, case.name


def test_every_bad_image_is_a_row_with_key_and_reason(
    corpus: list[Case], readable: Indexed
) -> None:
    cases = [case for case in corpus if case.outcome == "error"]
    assert len(cases) >= 50
    for case in cases:
        (row,) = readable.errors.get(case.path.name, [None])
        assert row is not None, case.name
        assert row["key"] == case.key, case.name
        assert re.fullmatch(case.kind, row["error"]), (case.name, row)
        assert row["message"], case.name
        assert "\n" not in row["message"], case.name
        assert len(readable.images[case.path.name]) == case.good, case.name


def test_the_summary_counts_what_the_tables_hold(readable: Indexed) -> None:
    assert readable.summary.images == sum(map(len, readable.images.values()))
    assert readable.summary.errors == sum(map(len, readable.errors.values()))


def test_every_damaged_shard_fails_by_name_and_leaves_what_was_committed(
    corpus: list[Case], tmp_path: Path
) -> None:
    (good,) = write_tars(tmp_path, [3])
    good = good.rename(tmp_path / "000.tar")
    damaged = [case for case in corpus if case.outcome == "shard"]
    assert len(damaged) >= 15
    for case in damaged:
        out = tmp_path / f"out-{case.name}"
        with pytest.raises(ShardError) as caught:
            run(config([good, case.path], out, shards_per_part=1, workers=1))
        assert caught.value.shard == case.key, case.name
        assert re.search(case.reason, str(caught.value)), (case.name, str(caught.value))
        assert "\n" not in str(caught.value), case.name
        (commit,) = list_commits(out / "parts")
        assert [(shard.name, shard.images) for shard in commit.shards] == [("000.tar", 3)]
        commit.verify()
        assert read_run(out)["status"] == "incomplete"
        assert not (out / "top.parquet").exists()


def test_what_cannot_be_opened_is_refused_before_anything_is_written(
    corpus: list[Case], tmp_path: Path
) -> None:
    for case in corpus:
        if case.outcome == "refused":
            with pytest.raises(SourceError, match=case.reason):
                run(config([case.path], tmp_path / "out"))
    assert not (tmp_path / "out").exists()
