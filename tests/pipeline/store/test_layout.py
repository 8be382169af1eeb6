"""Which files of a folder are maxact's, also where one cannot be read."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline.errors import StoreError
from pipeline.store import layout
from pipeline.store.layout import footer_of, foreign_files, own_tables
from tests.fixtures.small_index import build_index


def test_files_of_others_under_a_name_of_an_index(tmp_path: Path) -> None:
    (tmp_path / "images.parquet").mkdir()
    (tmp_path / "run.json").write_text(json.dumps({"runs": []}))
    assert [path.name for path in foreign_files(tmp_path)] == ["images.parquet", "run.json"]
    assert own_tables(tmp_path) == []


def test_a_damaged_table_is_maxacts_beside_a_run_of_it(tmp_path: Path) -> None:
    out = build_index(tmp_path)
    (out / "images.parquet").write_bytes(b"damaged")
    assert out / "images.parquet" in own_tables(out)
    assert foreign_files(out) == []
    (out / "run.json").write_text("{}")
    assert out / "images.parquet" not in own_tables(out)


def test_a_damaged_run_is_maxacts_if_it_starts_like_one(tmp_path: Path) -> None:
    out = build_index(tmp_path)
    (out / "run.json").write_text((out / "run.json").read_text()[:-20])
    assert foreign_files(out) == []
    (out / "run.json").write_text('{"runs": [')
    assert foreign_files(out) == [out / "run.json"]


@pytest.mark.parametrize("number", [errno.EIO, None])
def test_a_disk_that_fails_is_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int | None
) -> None:
    def fail(path: Path) -> None:
        raise OSError(number, os.strerror(number)) if number else OSError("Couldn't deserialize thrift")

    monkeypatch.setattr(pq, "read_metadata", fail)
    if number:
        with pytest.raises(StoreError, match=r"t\.parquet cannot be read: Input/output error"):
            footer_of(tmp_path / "t.parquet")
    else:
        assert footer_of(tmp_path / "t.parquet") is None


def test_a_run_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path, **options: object) -> str:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    (tmp_path / "run.json").touch()
    monkeypatch.setattr(layout.Path, "read_text", fail)
    with pytest.raises(StoreError, match=r"run\.json cannot be read: Input/output error"):
        foreign_files(tmp_path)
