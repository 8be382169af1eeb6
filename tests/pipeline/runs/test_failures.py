"""What runs say, and leave, when files are missing, changed or cannot be written."""

from __future__ import annotations

import errno
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from pipeline.data.dataset import Dataset, open_dataset
from pipeline.errors import (
    DamagedFile,
    FingerprintMismatch,
    MissingSource,
    ShardError,
    StoreError,
    UsageError,
    WrongFolder,
)
from pipeline.naming.concepts_file import read_concepts
from pipeline.query.index import open_index
from pipeline.runs import duplicates, part_rows, plan, same_data, staging
from pipeline.runs.concept_names import match_concepts
from pipeline.runs.dissect import dissect_index
from pipeline.runs.embedding_table import read_embeddings
from pipeline.runs.fingerprint import refuse_mismatch
from pipeline.runs.merge import merge_runs
from pipeline.runs.names import name_index, names_damage
from pipeline.runs.out_folder import refuse_data_folder, remove_index
from pipeline.runs.part_rows import in_order
from pipeline.runs.run import run_index
from pipeline.runs.thumbnails import _row
from pipeline.state.commit import list_commits
from pipeline.stream import group
from tests.fixtures.runs import config, hashes
from tests.fixtures.tables import edit_run
from tests.fixtures.tiny import PREPROCESS, tiny_network, write_tars

pytestmark = pytest.mark.slow

SIZES = (6, 3, 5, 4)


@pytest.fixture(scope="module")
def tars(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_tars(tmp_path_factory.mktemp("data"), list(SIZES))


@pytest.fixture(scope="module")
def built(tars: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("built") / "out"
    run_index(config(tars, out, shards_per_part=2, keep=("peaks",)), network=tiny_network())
    return out


@pytest.fixture
def out(built: Path, tmp_path: Path) -> Path:
    return shutil.copytree(built, tmp_path / "out")


def failing(number: int) -> Any:
    def fail(*given: object, **options: object) -> None:
        raise OSError(number, os.strerror(number), "a file")

    return fail


def rows_of(out: Path) -> list[tuple[int, int]]:
    """(ordinal of the shard, image_id in the part) of every image."""
    commits = list_commits(out / "parts")
    shards = sorted((shard for each in commits for shard in each.shards), key=lambda shard: shard.name)
    pieces = in_order(commits, shards, "images", ["image_id"])
    return [(ordinal, number) for ordinal, piece in pieces for number in piece["image_id"].to_pylist()]


def test_rows_are_in_order_however_few_parts_are_open(
    tars: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parts whose shards alternate by name, so that with one open at a time each is opened twice."""
    runs = []
    for first in (0, 1):
        runs.append(tmp_path / f"run{first}")
        run_index(config(tars[first::2], runs[-1], shards_per_part=2), network=tiny_network())
    merge_runs(tmp_path / "out", runs)
    expected = rows_of(tmp_path / "out")
    assert [ordinal for ordinal, _ in expected] == [n for n, size in enumerate(SIZES) for _ in range(size)]
    monkeypatch.setattr(part_rows, "_OPEN", 1)
    monkeypatch.setattr(part_rows, "_BATCH_ROWS", 2)
    assert rows_of(tmp_path / "out") == expected


def test_a_part_with_fewer_rows_than_its_commit_file_says_is_named(out: Path) -> None:
    commits = list_commits(out / "parts")
    more = [replace(shard, images=shard.images + 1) for shard in commits[0].shards]
    with pytest.raises(StoreError, match=r"images\.parquet has fewer rows than its commit file says"):
        list(in_order(commits[:1], more, "images", ["image_id"]))


def test_tables_without_run_json_are_not_replaced(tars: list[Path], out: Path) -> None:
    (out / "run.json").unlink()
    with pytest.raises(StoreError, match=r"holds tables of an index but no run\.json; --fresh removes them"):
        run_index(config(tars, out), network=tiny_network())


def test_a_run_that_cannot_be_compared_is_not_replaced(tars: list[Path], out: Path) -> None:
    edit_run(out, lambda content: content.pop("identity"))
    with pytest.raises(StoreError, match=r"run\.json has no identity, so it cannot be compared"):
        run_index(config(tars, out, shards_per_part=2, keep=("peaks",)), network=tiny_network())


def test_the_option_that_continues_a_compiled_run_is_named() -> None:
    for before, now, option in ((True, False, "on"), (False, True, "off")):
        with pytest.raises(FingerprintMismatch, match=f"Give --compile {option} to continue that run"):
            refuse_mismatch(Path("out"), {"compiled": before}, {"compiled": now})


def test_shards_of_one_name_are_refused(tars: list[Path], tmp_path: Path) -> None:
    (shard,) = open_dataset(tars[:1]).shards
    twice = Dataset("twice", (shard, shard), (str(tars[0]),))
    with pytest.raises(ShardError, match=r"occurs twice in the dataset; names of shards must be unique"):
        run_index(config(tars[:1], tmp_path / "out"), network=tiny_network(), dataset=twice)
    with pytest.raises(MissingSource, match="none holds no images"):
        run_index(
            config(tars[:1], tmp_path / "out"),
            network=tiny_network(),
            dataset=Dataset("none", (), (str(tars[0]),)),
        )


def test_nothing_is_compiled_without_a_compiler(
    tars: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "can_compile", lambda device: False)

    class Here:
        device = type("Device", (), {"type": "cpu"})

        def ask(self, function: Any, *given: Any) -> Any:
            return function(*given)

    asked = config(tars, tmp_path / "out", compile="auto")
    found = plan._decide_compile(asked, open_dataset(tars), Here())  # type: ignore[arg-type]
    assert found == (False, "compile off: no C++ compiler (CPU) or Triton (GPU) was found")


def test_runs_over_shards_of_other_sizes_are_not_merged(tmp_path: Path) -> None:
    runs = []
    for size in (3, 30):
        tars = write_tars(tmp_path / f"data{size}", [size])
        runs.append(tmp_path / f"run{size}")
        run_index(config(tars, runs[-1]), network=tiny_network())
    with pytest.raises(StoreError, match=r"shard tiny-000\.tar has \d+ bytes in one run and \d+ in another"):
        merge_runs(tmp_path / "out", runs)
    assert not (tmp_path / "out" / "run.json").exists()


def test_concepts_of_a_key_of_several_images_are_refused(tmp_path: Path) -> None:
    tars = [*write_tars(tmp_path / "a", [4]), *write_tars(tmp_path / "b", [6])]
    run_index(config(tars, tmp_path / "out", keep=("peaks",)), network=tiny_network())
    file = tmp_path / "concepts.csv"
    with open_index(tmp_path / "out") as index:
        file.write_text("key,concept\n00001,dog\n00005,dog\n")
        with pytest.raises(UsageError, match=r"name '00001', but several images of .* are called so"):
            match_concepts(read_concepts(file), index)
        file.write_text("key,concept\n00004,dog\n00005,dog\n")
        found = match_concepts(read_concepts(file), index)
    assert [rows.tolist() for rows in found.rows] == [[8, 9]]


def test_names_need_parts(out: Path) -> None:
    shutil.rmtree(out / "parts")
    with pytest.raises(StoreError, match="parts has no parts, and names need their sums; index again"):
        name_index(out)


def test_names_that_cannot_be_read_are_not_damaged(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", failing(errno.EIO))
        with pytest.raises(StoreError, match=r"names\.parquet cannot be read: Input/output error"):
            names_damage(out)
    (out / "names.parquet").unlink()
    assert names_damage(out) == "is missing"
    (out / "classes.parquet").write_bytes(b"no table")
    assert names_damage(out) is None


def test_masks_without_a_name_are_refused(out: Path) -> None:
    with pytest.raises(UsageError, match="--masks is empty; give a folder of PNG files, or a column"):
        dissect_index(out, "")


def test_tables_that_cannot_be_moved_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"cannot write into .*: No such file or directory; fix"):
        staging.publish_tables(tmp_path, tmp_path, ["units"])


def test_too_little_room_for_duplicates_is_one_line(tmp_path: Path) -> None:
    for error in (duckdb.OutOfMemoryException("failed to\nallocate"), pa.ArrowInvalid("no table")):
        with (
            pytest.raises(StoreError, match=r"cannot find duplicates in .*; the parts are intact") as told,
            duplicates._room_for(tmp_path),
        ):
            raise error
        assert "\n" not in str(told.value)


def test_an_image_that_changed_or_cannot_be_read_has_no_thumbnail(tars: list[Path], built: Path) -> None:
    with open_index(built) as index:
        place = index.sql("SELECT * FROM images LIMIT 1").dicts()[0]
    dataset = open_dataset(tars)
    drawn = _row(dataset, place, PREPROCESS)
    assert drawn is not None
    assert drawn["image_id"] == place["image_id"]
    for change in ({"digest": place["digest"] + 1}, {"shard": "none"}, {"bytes": 9}):
        assert _row(dataset, {**place, **change}, PREPROCESS) is None


def test_an_index_is_not_written_among_the_demo_images(tmp_path: Path) -> None:
    with pytest.raises(WrongFolder, match="lies in the dataset demo"):
        refuse_data_folder(tmp_path / "demo" / "out", ["demo"], tmp_path)
    refuse_data_folder(tmp_path / "out", ["demo"], tmp_path)


def test_a_part_that_cannot_be_removed_is_named(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.runs.out_folder._remove_part", failing(errno.EACCES))
    with pytest.raises(StoreError, match=r"cannot remove the index in .*: Permission denied \(a file\)"):
        remove_index(out, keep="")
    assert (out / "run.json").exists()


def test_embeddings_of_another_index_are_not_used(out: Path) -> None:
    (out / "embeddings.parquet").write_bytes(b"no table")
    found, why = read_embeddings(out, "0" * 64, "encoder", 3)
    assert why == f"{out / 'embeddings.parquet'} is of another index"
    assert found.values.shape == (0, 3)


def test_an_image_among_the_last_that_changed_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a large shard, only the first samples and some of the others are compared."""
    monkeypatch.setattr(same_data, "SMALL_BYTES", 0, raising=False)
    tars = write_tars(tmp_path / "data", [40])
    run_index(config(tars, tmp_path / "out"), network=tiny_network())
    (commit,) = list_commits(tmp_path / "out" / "parts")
    (record,) = commit.shards
    (shard,) = open_dataset(tars).shards
    suspect = same_data._Suspect(shard, record, commit)
    assert same_data._equals_sample(suspect)
    data = bytearray(tars[0].read_bytes())
    sample = list(shard.samples())[-1]
    data[sample.offset + 60] ^= 1  # type: ignore[union-attr]
    tars[0].write_bytes(data)
    assert not same_data._equals_sample(suspect)


def test_a_run_resumed_after_a_table_was_lost_gives_the_same_tables(tars: list[Path], out: Path) -> None:
    before = hashes(out)
    (out / "units.parquet").unlink()
    with pytest.raises(DamagedFile):
        open_index(out)
    run_index(config(tars, out, shards_per_part=2, keep=("peaks",)), network=tiny_network())
    assert hashes(out) == before
    assert np.all([(out / name).exists() for name in ("units.parquet", "run.json")])


def test_tables_do_not_depend_on_how_many_images_are_packed_at_once(
    tars: list[Path], built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group, "_PACKED_ROWS", 2)
    run_index(config(tars, tmp_path / "out", shards_per_part=2, keep=("peaks",)), network=tiny_network())
    assert hashes(tmp_path / "out") == hashes(built)
