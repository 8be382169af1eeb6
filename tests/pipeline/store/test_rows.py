"""Rows hold the same numbers in memory and in a file."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.errors import StoreError
from pipeline.store.rows import Rows

WIDTH = 5


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data(), st.sampled_from([0, 200, 1 << 20]))
def test_rows_are_those_of_an_array(tmp_path: Path, data: st.DataObject, memory: int) -> None:
    expected = np.zeros((0, WIDTH))
    with Rows(tmp_path, WIDTH, memory=memory) as rows:
        for _ in range(data.draw(st.integers(1, 8))):
            count = max(len(expected), data.draw(st.integers(1, 12)))
            expected = np.pad(expected, ((0, count - len(expected)), (0, 0)))
            rows.grow(count)
            chosen = np.array(data.draw(st.lists(st.integers(0, count - 1), unique=True)), np.int64)
            first = data.draw(st.integers(0, WIDTH))
            columns = slice(first, data.draw(st.integers(first, WIDTH)))
            values = np.random.default_rng(count).normal(size=(len(chosen), columns.stop - first))
            if data.draw(st.booleans()):
                rows.add(chosen, values, columns)
                expected[chosen, columns] += values
            else:
                rows.write(chosen, values, columns)
                expected[chosen, columns] = values
            np.testing.assert_array_equal(rows.read(np.arange(count)[::-1]), expected[::-1])
        assert rows.on_disk == (len(expected) * WIDTH * 8 > memory)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    rows = Rows(tmp_path, WIDTH, memory=0)
    rows.grow(2)
    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(StoreError, match=r"No space left on device.*Free some space"):
        rows.write(np.array([1]), np.ones((1, WIDTH)))


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot hold what does not fit into memory"):
        Rows(tmp_path / "file", WIDTH, memory=0).grow(1)


def test_rows_that_move_to_a_file_stay_the_same_also_when_the_disk_takes_a_few_bytes_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, read = os.pwrite, os.preadv
    monkeypatch.setattr(os, "pwrite", lambda file, data, offset: write(file, data[:3], offset))
    monkeypatch.setattr(os, "preadv", lambda file, into, offset: read(file, [into[0][:5]], offset))
    expected = np.random.default_rng(0).normal(size=(4, WIDTH))
    with Rows(tmp_path, WIDTH, memory=4 * WIDTH * 8) as rows:
        rows.grow(4)
        rows.write(np.arange(4), expected)
        rows.grow(6)
        assert rows.on_disk
        rows.add(np.array([5, 1]), np.ones((2, 2)), slice(1, 3))
        expected = np.pad(expected, ((0, 2), (0, 0)))
        expected[[5, 1], 1:3] += 1
        np.testing.assert_array_equal(rows.read(np.arange(6)), expected)


def test_closed_rows_hold_neither_memory_nor_a_file(tmp_path: Path) -> None:
    for memory in (0, 1 << 20):
        with Rows(tmp_path, WIDTH, memory=memory) as rows:
            rows.grow(9)
            assert rows.on_disk == (memory == 0)
        assert rows._file is None or rows._file.closed
        assert rows._array.base is None
        assert not rows._array.size


def test_an_array_is_held_as_it_is() -> None:
    values = np.arange(6, dtype=np.int32).reshape(3, 2)
    with Rows.holding(values) as rows:
        assert (rows.count, rows.width, rows.kind) == (3, 2, np.int32)
        np.testing.assert_array_equal(rows.read(np.array([2, 0]), slice(1, 2)), [[5], [1]])
        assert not rows.on_disk


def test_rows_that_grow_one_by_one_are_copied_seldom_and_stay_within_their_memory(tmp_path: Path) -> None:
    rows, sizes = Rows(tmp_path, WIDTH, memory=100 * WIDTH * 8), set()
    for count in range(1, 101):
        rows.grow(count)
        sizes.add(len(rows._array))
    assert not rows.on_disk
    assert len(sizes) <= 8
    assert max(sizes) == 100
    rows.grow(101)
    assert rows.on_disk
    rows.close()


def test_a_disk_that_cannot_be_read_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: object) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with Rows(tmp_path, WIDTH, memory=0) as rows:
        rows.grow(2)
        monkeypatch.setattr(os, "preadv", broken)
        with pytest.raises(StoreError, match=r"Input/output error"):
            rows.read(np.array([1]))
