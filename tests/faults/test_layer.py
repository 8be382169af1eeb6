"""The file layer fails when it is told to, and the disk after a power failure is as its rules say."""

from __future__ import annotations

import errno
import os
import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.faults.faults import ALL, CHANGES, CREATES, READS, SYNCS, WRITES
from tests.faults.harness import backups_of, build_layer, why_not
from tests.faults.power import BLOCK, lose_power

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not() or "-")

START = """
import ctypes, os, sys, time
layer = ctypes.CDLL(None)
layer.fault_arm.argtypes = [ctypes.c_char_p, ctypes.c_int, ctypes.c_long, *[ctypes.c_int] * 4, ctypes.c_long]
root, journal, backups, *numbers = sys.argv[1:]
os.chdir(root)
if journal:
    layer.fault_journal(os.fsencode(journal), os.fsencode(backups))
layer.fault_arm(os.fsencode(root), *map(int, numbers))
def sync(path):
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)
def write(path, count):
    with open(path, "wb", buffering=0) as file:
        return file.write(bytes(count))
"""


@pytest.fixture(scope="module")
def layer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_layer(tmp_path_factory.mktemp("layer"))


def run(layer: Path, root: Path, script: str, arming: Sequence[int], journal: Path | None = None) -> str:
    """What a script prints under the file layer."""
    words = [str(root), str(journal or ""), str(backups_of(journal) if journal else ""), *map(str, arming)]
    done = subprocess.run(
        [sys.executable, "-S", "-c", START + script, *words],
        env={**os.environ, "LD_PRELOAD": str(layer)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "SyntaxError" not in done.stderr
    return f"{done.returncode} {done.stdout.strip()} {done.stderr.strip().splitlines()[-1:]}"


CALLS = """
write('a', 9)
os.mkdir('folder')
os.replace('a', 'folder/b')
sync('folder/b')
print(open('folder/b', 'rb').read())
os.unlink('folder/b')
print('done')
"""


@pytest.mark.parametrize(
    ("classes", "number", "error", "left"),
    [
        (CREATES, 1, errno.ENOSPC, []),
        (WRITES, 1, errno.ENOSPC, ["a"]),
        (CREATES, 2, errno.EROFS, ["a"]),
        (CHANGES, 1, errno.EROFS, ["a", "folder"]),
        (SYNCS, 1, errno.EIO, ["folder", "folder/b"]),
        (READS, 3, errno.EIO, ["folder", "folder/b"]),
        (CHANGES, 2, errno.EIO, ["folder", "folder/b"]),
    ],
)
def test_the_nth_call_fails(
    layer: Path, tmp_path: Path, classes: int, number: int, error: int, left: list[str]
) -> None:
    shown = run(layer, tmp_path, CALLS, (classes, number, 0, error, 1, 0, 0))
    assert shown.startswith("1 ")
    assert os.strerror(error) in shown
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == left


def test_nothing_else_fails(layer: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    script = f"write({str(tmp_path / 'rooted')!r}, 5)\nprint(os.path.getsize({str(tmp_path / 'rooted')!r}))"
    assert run(layer, root, script, (ALL, 1, 0, errno.EIO, 1, 0, 0)).startswith("0 5")
    assert run(layer, root, CALLS, (ALL, 0, 0, 0, 0, 0, 0)).startswith("0 ")


def test_an_error_may_pass(layer: Path, tmp_path: Path) -> None:
    script = """
try:
    write('a', 9)
except OSError as error:
    print(error.errno)
print(write('a', 9))
"""
    assert run(layer, tmp_path, script, (WRITES, 1, 0, errno.EIO, 0, 0, 0)).startswith(f"0 {errno.EIO}\n9")


def test_a_signal_comes_before_the_call(layer: Path, tmp_path: Path) -> None:
    assert run(layer, tmp_path, CALLS, (CHANGES, 1, 9, 0, 0, 0, 0)).startswith("-9 ")
    assert (tmp_path / "a").exists()


def test_transfers_are_short(layer: Path, tmp_path: Path) -> None:
    assert run(layer, tmp_path, "print(write('a', 101))", (0, 0, 0, 0, 0, 1, 0)).startswith("0 51")


def test_the_clock_jumps_back(layer: Path, tmp_path: Path) -> None:
    script = """
now, then = time.time(), time.monotonic()
write('a', 1)
print(time.time() < now - 90, time.monotonic() >= then)
"""
    assert run(layer, tmp_path, script, (WRITES, 1, 0, 0, 0, 0, 100)).startswith("0 True True")


def after_power_failure(layer: Path, folder: Path, script: str) -> list[dict[str, int]]:
    """The sizes of the files that may be left, in every outcome that 40 draws give."""
    found = []
    for seed in range(40):
        root, journal = folder / f"root-{seed}", folder / f"{seed}.journal"
        root.mkdir()
        (root / "old").write_bytes(bytes(7))
        backups_of(journal).mkdir()
        shown = run(layer, root, script, (ALL, 0, 0, 0, 0, 0, 0), journal)
        assert shown.startswith("0 "), shown
        lose_power(root, journal, random.Random(seed))
        left = {
            str(path.relative_to(root)): path.stat().st_size if path.is_file() else -1
            for path in root.rglob("*")
        }
        if left not in found:
            found.append(left)
        if len(found) == 1 and seed == 12:
            break  # all is safe
    return sorted(found, key=str)


@pytest.mark.slow
def test_what_was_not_synced_is_lost(layer: Path, tmp_path: Path) -> None:
    outcomes = after_power_failure(layer, tmp_path, f"write('new', {2 * BLOCK + 5})")
    assert outcomes == [
        {"new": 0, "old": 7},
        {"new": BLOCK, "old": 7},
        {"new": 2 * BLOCK, "old": 7},
        {"old": 7},
    ]


@pytest.mark.slow
def test_a_file_is_replaced_or_not_once_it_was_synced(layer: Path, tmp_path: Path) -> None:
    script = "write('new', 5000)\nsync('new')\nos.replace('new', 'old')"
    assert after_power_failure(layer, tmp_path, script) == [
        {"new": 5000, "old": 7},
        {"old": 5000},
        {"old": 7},
    ]


@pytest.mark.slow
def test_without_a_sync_the_replaced_file_may_be_empty(layer: Path, tmp_path: Path) -> None:
    outcomes = after_power_failure(layer, tmp_path, "write('new', 5000)\nos.replace('new', 'old')\nsync('.')")
    assert {"old": 0} in outcomes
    assert all(outcome.keys() == {"old"} for outcome in outcomes)


@pytest.mark.slow
def test_what_was_synced_is_safe(layer: Path, tmp_path: Path) -> None:
    script = "write('new', 5000)\nsync('new')\nos.replace('new', 'old')\nsync('.')"
    assert after_power_failure(layer, tmp_path, script) == [{"old": 5000}]


@pytest.mark.slow
def test_folders_and_removals_are_undone_too(layer: Path, tmp_path: Path) -> None:
    script = "os.mkdir('a')\nwrite('a/b', 1)\nsync('a/b')\nsync('a')\nos.unlink('old')"
    assert after_power_failure(layer, tmp_path, script) == [
        {"a": -1, "a/b": 1},
        {"a": -1, "a/b": 1, "old": 7},
        {"old": 7},
    ]
    script = (
        "os.mkdir('a')\nwrite('a/b', 1)\nsync('a/b')\nsync('a')\nsync('.')\nos.unlink('a/b')\nos.rmdir('a')"
    )
    (tmp_path / "more").mkdir()
    assert after_power_failure(layer, tmp_path / "more", script) == [
        {"a": -1, "a/b": 1, "old": 7},
        {"a": -1, "old": 7},
        {"old": 7},
    ]
