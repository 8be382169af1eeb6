"""The table of renderings while several processes add to it at once."""

from __future__ import annotations

import hashlib
import multiprocessing
from dataclasses import asdict, replace
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.errors import DamagedFile, StoreError
from pipeline.store.schemas import RENDERS
from pipeline.store.tables import write_table
from tests.fixtures.renders import rendered
from viz.render.table import load_renders, merge_renders

PROCESSES, ROUNDS = 4, 12


def add_rows(out: Path, seed: int) -> None:
    """One process: a row at a time, as rendering single units does."""
    for unit in range(ROUNDS):
        merge_renders(out, [rendered(2.0, unit=unit, seed=seed)])


@pytest.mark.slow
def test_processes_that_add_at_once_lose_no_row(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=add_rows, args=(tmp_path, seed)) for seed in range(PROCESSES)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * PROCESSES
    keys = {(row.seed, row.unit) for row in load_renders(tmp_path)}
    assert keys == {(seed, unit) for seed in range(PROCESSES) for unit in range(ROUNDS)}


def test_a_row_of_the_same_key_takes_the_place_and_its_picture_goes(tmp_path: Path) -> None:
    old = rendered(2.0)
    (tmp_path / "renders").mkdir()
    (tmp_path / old.file).write_bytes(b"a picture")
    merge_renders(tmp_path, [old])
    merge_renders(tmp_path, [rendered(3.0, file="renders/other.png")])
    assert [row.ratio for row in load_renders(tmp_path)] == [3.0]
    assert not (tmp_path / old.file).exists()


def test_a_file_outside_the_renderings_is_never_removed(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    victim = tmp_path / "victim.txt"
    victim.write_text("mine")
    table = pa.Table.from_pylist([asdict(rendered(2.0, file="../victim.txt"))], schema=RENDERS)
    write_table(tmp_path / "out" / "renders.parquet", RENDERS, [table], sealed=True)
    with pytest.raises(StoreError, match="is not below"):
        merge_renders(tmp_path / "out", [rendered(3.0)])
    assert victim.read_text() == "mine"


def test_a_changed_picture_is_refused_and_counts_as_missing(tmp_path: Path) -> None:
    png = b"a picture"
    row = rendered(2.0, sha256=hashlib.sha256(png).hexdigest())
    with pytest.raises(DamagedFile, match="cannot be read: No such file"):
        row.read(tmp_path)
    (tmp_path / "renders").mkdir()
    (tmp_path / row.file).write_bytes(png)
    assert row.read(tmp_path) == png
    assert row.is_intact(tmp_path)
    (tmp_path / row.file).write_bytes(b"b picture")
    assert not row.is_intact(tmp_path)
    with pytest.raises(DamagedFile, match="was changed after it was rendered; run the same `maxact render`"):
        row.read(tmp_path)
    assert replace(row, sha256=None).is_intact(tmp_path), "a row of an earlier version has no digest"


def test_a_table_of_an_earlier_version_is_read_and_one_that_was_changed_is_not(tmp_path: Path) -> None:
    old = pa.schema([field for field in RENDERS if field.name != "sha256"])
    values = {name: value for name, value in asdict(rendered(2.0)).items() if name != "sha256"}
    path = tmp_path / "renders.parquet"
    write_table(path, old, [pa.Table.from_pylist([values], old)])
    assert [row.sha256 for row in load_renders(tmp_path)] == [None]
    merge_renders(tmp_path, [rendered(3.0, unit=4, sha256="0" * 64)])
    assert [row.sha256 for row in load_renders(tmp_path)] == [None, "0" * 64]
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(DamagedFile, match=r"renders\.parquet was changed .*; delete it and render again"):
        load_renders(tmp_path)
