"""Bad input through a whole run: rows, named shards, full disks and Ctrl-C; never a traceback."""

from __future__ import annotations

import errno
import os
import re
import shutil
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import RunConfig
from pipeline.errors import (
    FingerprintMismatch,
    ShardError,
    SourceError,
    StoreError,
    TooManyBadImages,
)
from pipeline.images.preprocess import Preprocess
from pipeline.networks.network import Network
from pipeline.runs.run import run_index
from pipeline.state.commit import list_commits
from pipeline.store import tables as store
from pipeline.store.run_file import RunSummary, read_run
from pipeline.stream.loop import Runner
from tests.fixtures.corpus import Case, build_corpus
from tests.fixtures.runs import config, hashes, rows
from tests.fixtures.tiny import PREPROCESS, picture, tiny_network, write_tars

pytestmark = pytest.mark.slow

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
    summary = run(config(data, out, max_bad_fraction=1.0, shards_per_part=50, workers=1), wider_network())
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


def test_every_bad_image_is_a_row_with_key_and_reason(corpus: list[Case], readable: Indexed) -> None:
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


def bad_folder(folder: Path, good: int, bad: int) -> Path:
    folder.mkdir(parents=True)
    for number in range(good):
        (folder / f"{number:03}.png").write_bytes(picture(number))
    for number in range(bad):
        (folder / f"bad-{number:03}.png").write_bytes(b"no image")
    return folder


@pytest.mark.parametrize(
    ("good", "bad", "fraction", "stops"),
    [
        (0, 10, 0.01, False),  # ten never stop a run
        (1, 11, 0.01, True),
        (89, 11, 0.11, False),  # a share of just the limit passes
        (88, 11, 0.11, True),
        (3, 11, 1.0, False),
        (3, 11, 0.0, True),
    ],
)
def test_max_bad_fraction(tmp_path: Path, good: int, bad: int, fraction: float, stops: bool) -> None:
    data = bad_folder(tmp_path / "data", good, bad)
    asked = config([data], tmp_path / "out", max_bad_fraction=fraction, layers=("first",))
    if not stops:
        summary = run(asked)
        assert (summary.images, summary.errors) == (good, bad)
        return
    message = rf"{bad} of \d+ images .* more than --max-bad-fraction {fraction:g}"
    with pytest.raises(TooManyBadImages, match=message):
        run(asked)


def test_a_group_that_goes_wrong_leaves_the_earlier_ones_committed(tmp_path: Path) -> None:
    data = [
        bad_folder(tmp_path / "a", 20, 8),
        bad_folder(tmp_path / "b", 20, 8),
        bad_folder(tmp_path / "c", 20, 11),
    ]
    out = tmp_path / "out"
    with pytest.raises(TooManyBadImages, match="11 of 31 images of c/00000 cannot"):
        run(config(data, out, shards_per_part=1))
    assert [len(commit.shards) for commit in list_commits(out / "parts")] == [1, 1]
    summary = run(config(data, out, shards_per_part=1, max_bad_fraction=0.5))
    assert (summary.resumed_shards, summary.errors) == (2, 27)


def test_a_shard_copied_again_is_picked_up_by_the_same_command(tmp_path: Path) -> None:
    tars = write_tars(tmp_path, [4, 5, 3])
    run(config(tars, tmp_path / "whole", shards_per_part=1))
    content = tars[1].read_bytes()
    tars[1].write_bytes(content[:5000])
    asked = config(tars, tmp_path / "out", shards_per_part=1)
    with pytest.raises(ShardError, match="tiny-001"):
        run(asked)
    tars[1].write_bytes(content)
    assert run(asked).resumed_shards == 1
    assert hashes(tmp_path / "out") == hashes(tmp_path / "whole")


@pytest.mark.parametrize("change", ["changed", "gone"])
def test_a_committed_shard_that_changed_is_refused(tmp_path: Path, change: str) -> None:
    tars = write_tars(tmp_path, [4, 5])
    (tmp_path / "tiny-001.tar").write_bytes(b"no tar")
    asked = config(tars, tmp_path / "out", shards_per_part=1)
    with pytest.raises(ShardError, match="tiny-001"):
        run(asked)
    if change == "changed":
        write_tars(tmp_path, [24, 5])
    else:
        asked = config(write_tars(tmp_path, [4, 5])[1:], tmp_path / "out", shards_per_part=1)
    with pytest.raises(FingerprintMismatch, match=r"shard tiny-000.tar, which is committed in .*"):
        run(asked)


class Disk:
    """Lets so many writes pass, then is full. Removing files still works."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left: float = float("inf")
        self.writes = 0
        for place, name in (
            (os, "fsync"),
            (os, "replace"),
            (Path, "write_text"),
            (Path, "mkdir"),
            (store.pq.ParquetWriter, "__init__"),
            (store.pq.ParquetWriter, "write_table"),
        ):
            monkeypatch.setattr(place, name, self.guard(getattr(place, name)))

    def guard(self, action: Callable[..., Any]) -> Callable[..., Any]:
        def guarded(*arguments: Any, **options: Any) -> Any:
            self.writes += 1
            if self.writes > self.left:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return action(*arguments, **options)

        return guarded

    def fill_after(self, writes: float) -> None:
        self.writes, self.left = 0, writes


def fill_disk_at(step: int, tmp_path: Path, disk: Disk) -> None:
    """Fill the disk at every so many writes of a run, and run again when there is space."""
    network, tars = tiny_network(), write_tars(tmp_path, [3, 2])

    def asked(name: str) -> RunConfig:
        return config(tars, tmp_path / name, shards_per_part=1, layers=("first",), workers=1)

    disk.fill_after(float("inf"))  # counts the run alone, not what made its data
    run(asked("whole"), network)
    wanted = hashes(tmp_path / "whole")
    for point in range(step - 1, disk.writes, step):
        out = tmp_path / f"full-{point}"
        disk.fill_after(point)
        with pytest.raises(StoreError, match=r"^[^\n]*No space left on device[^\n]*$"):
            run(asked(out.name), network)
        disk.fill_after(float("inf"))
        commits = list_commits(out / "parts")
        for commit in commits:
            commit.verify()
        summary = run(asked(out.name), network)
        assert summary.resumed_shards == len(commits)
        assert hashes(out) == wanted, point
        assert not [path.name for path in out.rglob("*.tmp")], point
        shutil.rmtree(out)


def test_a_full_disk_at_some_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill_disk_at(17, tmp_path, Disk(monkeypatch))


@pytest.mark.slow
@pytest.mark.thorough
def test_a_full_disk_at_every_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill_disk_at(2, tmp_path, Disk(monkeypatch))


@pytest.mark.skipif(sys.platform == "win32", reason="needs resource limits")
@pytest.mark.parametrize("limit", [100, 1500, 2500, 4000])
def test_a_file_that_cannot_grow_is_named(tmp_path: Path, limit: int) -> None:
    """The failure comes from inside Arrow's writer, in the middle of a table."""
    import resource

    tars = write_tars(tmp_path, [3, 2])
    asked = config(tars, tmp_path / "out", shards_per_part=1)
    run(config(tars, tmp_path / "whole", shards_per_part=1))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with pytest.raises(StoreError, match=r"cannot write .*: File too large"):
            run(asked)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    run(asked)
    assert hashes(tmp_path / "out") == hashes(tmp_path / "whole")


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_ctrl_c_stops_every_thread_and_the_next_run_ends_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    tars = write_tars(tmp_path, [6, 6, 6])
    run(config(tars, tmp_path / "whole", shards_per_part=1, batch_size=3))
    asked = config(tars, tmp_path / "out", shards_per_part=1, batch_size=3)
    done: list[int] = []
    run_batch = Runner.run

    def interrupted(self: Runner, *arguments: Any) -> None:
        if len(done) == batch:
            raise KeyboardInterrupt
        done.append(1)
        run_batch(self, *arguments)

    threads = threading.active_count()
    with monkeypatch.context() as patch:
        patch.setattr(Runner, "run", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(asked)
    assert threading.active_count() == threads
    assert run(asked).resumed_shards == batch // 2
    assert hashes(tmp_path / "out") == hashes(tmp_path / "whole")
