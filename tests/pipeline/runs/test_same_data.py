"""A dataset whose files were replaced by others of the same size is not mixed with the old results."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.config import RunConfig
from pipeline.data import content as contents
from pipeline.engines import index_work
from pipeline.errors import FingerprintMismatch, ShardError, StoreError
from pipeline.runs import same_data
from pipeline.runs.merge import merge_runs
from pipeline.runs.run import run_index
from tests.fixtures.runs import config, hashes
from tests.fixtures.tiny import picture, tiny_network, write_tars

pytestmark = pytest.mark.slow

COUNT = 30


def encoded(seed: int, size: int) -> bytes:
    """A picture of a given size: PNG readers ignore what follows the last chunk."""
    data = picture(seed)
    assert len(data) <= size
    return data + bytes(size - len(data))


SIZE = max(len(picture(seed)) for seed in range(COUNT + 1))


def write_folder(root: Path) -> Path:
    for number in range(COUNT):
        path = root / f"data/{'ab'[number % 2]}/{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(number, SIZE))
    return root / "data"


def replace_photograph(data: Path) -> None:
    (data / "a/04.png").write_bytes(encoded(COUNT, SIZE))


def write_tar(root: Path) -> Path:
    return write_tars(root, [COUNT])[0]


def replace_tar(data: Path) -> None:
    old = data.read_bytes()
    (other,) = write_tars(data.parent / "other", [COUNT], seed=1)
    new = other.read_bytes()
    shutil.rmtree(other.parent)
    end = max(len(old.rstrip(b"\0")), len(new.rstrip(b"\0"))) + 2048
    assert end <= len(old), "both archives are padded to the same size"
    data.write_bytes(new.ljust(len(old), b"\0")[: len(old)])
    assert data.stat().st_size == len(old)


def write_parquet(root: Path) -> Path:
    root.mkdir(exist_ok=True)
    images = [encoded(number, SIZE) for number in range(COUNT)]
    pq.write_table(pa.table({"image": images}), root / "a.parquet", compression="none", use_dictionary=False)
    return root / "a.parquet"


def replace_parquet(data: Path) -> None:
    old = data.read_bytes()
    wanted, new = encoded(7, SIZE), encoded(COUNT, SIZE)
    assert old.count(wanted) >= 1
    data.write_bytes(old.replace(wanted, new))


KINDS = {
    "folder": (write_folder, replace_photograph),
    "tar": (write_tar, replace_tar),
    "parquet": (write_parquet, replace_parquet),
}


def interrupted(data: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> RunConfig:
    """A run over this data and a second shard, stopped after its first commit."""
    (second,) = write_tars(data.parent / "second", [COUNT])
    second = second.rename(second.with_name("zz.tar"))
    run = config([data, second], out, shards_per_part=1)
    commit_part = index_work.commit_part

    def stop(*arguments: object) -> object:
        commit = commit_part(*arguments)  # type: ignore[arg-type]
        raise KeyboardInterrupt(commit)

    with monkeypatch.context() as patch:
        patch.setattr(index_work, "commit_part", stop)
        with pytest.raises(KeyboardInterrupt):
            run_index(run, network=tiny_network())
    return run


@pytest.mark.parametrize("kind", KINDS)
def test_a_replaced_file_of_equal_size_is_noticed_on_resume(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, replace = KINDS[kind]
    data = write(tmp_path / "in")
    run = interrupted(data, tmp_path / "out", monkeypatch)
    replace(data)
    with pytest.raises(FingerprintMismatch, match=r"shard .* has other content .*--fresh"):
        run_index(run, network=tiny_network())


@pytest.mark.parametrize("kind", KINDS)
def test_and_when_a_finished_run_is_repeated(kind: str, tmp_path: Path) -> None:
    write, replace = KINDS[kind]
    data = write(tmp_path / "in")
    run = config([data], tmp_path / "out")
    run_index(run, network=tiny_network())
    replace(data)
    with pytest.raises(FingerprintMismatch, match="has other content"):
        run_index(run, network=tiny_network())


@pytest.mark.parametrize("kind", ["tar", "parquet"])
def test_large_shards_are_sampled(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write, replace = KINDS[kind]
    data = write(tmp_path / "in")
    run = config([data], tmp_path / "out")
    run_index(run, network=tiny_network())
    monkeypatch.setattr(same_data, "WHOLE_BYTES", 0)
    os.utime(data, (1, 1))
    assert run_index(run, network=tiny_network()).resumed_shards == 1
    replace(data)
    with pytest.raises(FingerprintMismatch, match="has other content"):
        run_index(run, network=tiny_network())


@pytest.mark.parametrize("kind", KINDS)
def test_a_copied_dataset_is_resumed(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write, _ = KINDS[kind]
    data = write(tmp_path / "in")
    run = interrupted(data, tmp_path / "out", monkeypatch)
    shutil.move(tmp_path / "in", tmp_path / "old")
    shutil.copytree(tmp_path / "old", tmp_path / "in", copy_function=shutil.copyfile)
    assert run_index(run, network=tiny_network()).resumed_shards == 1
    whole = config(list(map(Path, run.data)), tmp_path / "whole", shards_per_part=1)
    run_index(whole, network=tiny_network())
    assert hashes(tmp_path / "whole") == hashes(tmp_path / "out")


def test_untouched_files_are_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = write_folder(tmp_path)
    run = config([data], tmp_path / "out")
    run_index(run, network=tiny_network())

    def fail(*_: object) -> None:
        raise AssertionError("read again")

    monkeypatch.setattr(same_data, "ShardReader", fail)
    assert run_index(run, network=tiny_network()).resumed_shards == 1


def test_runs_over_shards_of_other_content_are_not_merged(tmp_path: Path) -> None:
    data = write_folder(tmp_path)
    for name in ("one", "two"):
        run_index(config([data], tmp_path / name), network=tiny_network())
        replace_photograph(data)
    with pytest.raises(StoreError, match=r"shard data/00000 has the same size but other content"):
        merge_runs(tmp_path / "merged", [tmp_path / "one", tmp_path / "two"])


def grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(bytes(10240))


def touch(path: Path) -> None:
    os.utime(path, (1, 1))


@pytest.mark.parametrize("change", [grow, touch])
@pytest.mark.parametrize("kind", KINDS)
def test_a_shard_that_changes_while_it_is_read_is_named(
    kind: str, change: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = KINDS[kind][0](tmp_path / "in")
    digest = contents.byte_digest
    seen: list[int] = []

    def disturb(image: bytes) -> int:
        seen.append(1)
        if len(seen) == 5:
            change(data / "a/02.png" if kind == "folder" else data)
        return digest(image)

    monkeypatch.setattr(contents, "byte_digest", disturb)
    with pytest.raises(ShardError, match=r"^shard .*(changed while they were read|has changed; run)"):
        run_index(config([data], tmp_path / "out"), network=tiny_network())
    assert not list((tmp_path / "out/parts").glob("*.json"))
