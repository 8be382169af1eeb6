"""What interrupted commands left is removed by the next one that is alone, and nothing else."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from pathlib import Path

import pytest

from pipeline.errors import StoreError, WrongFolder
from pipeline.store.leftovers import SPILL, writing
from pipeline.store.run_file import locked

LEFT = [
    ".units.parquet.12000000345.tmp",
    ".run.json.12000000345.tmp",
    ".names.parquet.1.tmp",
    "parts/.0123456789abcdef.json.1.tmp",
    "renders/.a.checkpoint.1.tmp",
    "renders/layer/.unit.png.1.tmp",
    "sheets/.layer.pdf.1.tmp",
    "projections/layer/.unit.png.1.tmp",
    "prior/.prior.pt.1.tmp",
    "atlas/layer/.unit.webp.1.tmp",
]

OF_OTHERS = [
    ".units.parquet.tmp",
    ".other.parquet.1.tmp",
    "units.parquet.1.tmp",
    "parts/.notes.txt.1.tmp",
    "sheets/below/.layer.pdf.1.tmp",
    "projections/.unit.png.1.tmp",
    "elsewhere/.unit.png.1.tmp",
]


def fill(out: Path) -> None:
    for name in (*LEFT, *OF_OTHERS):
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text("half")
    (out / ".links.json.1.tmp").symlink_to(out / OF_OTHERS[0])
    (out / "sheets" / ".a.png.1.tmp").mkdir()


def test_only_what_maxact_left_is_removed(tmp_path: Path) -> None:
    fill(tmp_path)
    with writing(tmp_path):
        assert [name for name in LEFT if (tmp_path / name).exists()] == []
    assert [name for name in OF_OTHERS if not (tmp_path / name).exists()] == []
    assert (tmp_path / ".links.json.1.tmp").is_symlink()
    assert (tmp_path / "sheets" / ".a.png.1.tmp").is_dir()


def test_beside_another_command_nothing_is_removed_and_being_alone_is_refused(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with writing(tmp_path / "new" / "out"):
        fill(tmp_path / "new" / "out")
        with writing(tmp_path / "new" / "out"):
            assert all((tmp_path / "new" / "out" / name).exists() for name in LEFT)
        with (
            pytest.raises(StoreError, match=r"another process is working in .*; wait for it to end"),
            writing(tmp_path / "new" / "out", alone=True),
        ):
            pass
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("other", [False, True])
def test_a_spill_goes_unless_it_holds_other_files(tmp_path: Path, other: bool) -> None:
    spill = tmp_path / SPILL
    spill.mkdir()
    (spill / "duckdb_temp_storage-0.tmp").write_text("")
    if other:
        (spill / "mine").write_text("")
    with writing(tmp_path):
        assert spill.exists() == other
        assert not other or len(list(spill.iterdir())) == 2


def test_what_cannot_be_removed_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / SPILL).mkdir()
    left = [tmp_path / SPILL / "duckdb_temp_storage-0.tmp", tmp_path / LEFT[0]]
    for path in left:
        path.write_text("")

    def fail(*arguments: object, **options: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(os, "unlink", fail)
    with writing(tmp_path):
        assert all(path.exists() for path in left)
        assert stat.S_IMODE((tmp_path / ".writers.lock").stat().st_mode) & ~0o644 == 0


def test_other_commands_may_write_as_well_unless_one_must_be_alone(tmp_path: Path) -> None:
    for alone in (False, True):
        with writing(tmp_path, alone=alone), open(tmp_path / ".writers.lock") as other:
            try:
                fcntl.flock(other, fcntl.LOCK_SH | fcntl.LOCK_NB)
                shared = True
            except BlockingIOError:
                shared = False
            assert shared != alone


def test_a_spill_that_is_a_link_stays(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / SPILL).symlink_to(tmp_path / "elsewhere")
    with writing(tmp_path / "out"):
        pass
    assert (tmp_path / "elsewhere").is_dir()


def test_what_is_no_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(WrongFolder, match="is not a folder; give a folder or a new name"), writing(path):
            pass


@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.EAGAIN, r"another process is working in .*; wait for it to end"),
        (errno.ENOLCK, r"cannot lock .*: No locks available; use a folder on a file system with locks"),
    ],
)
def test_a_lock_that_is_not_given_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, said: str, alone: bool
) -> None:
    def refuse(lock: int, how: int) -> None:
        if how & fcntl.LOCK_EX:
            raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(StoreError, match=said), locked(tmp_path):
        pass
    if alone or number == errno.ENOLCK:
        with pytest.raises(StoreError, match=said), writing(tmp_path, alone=alone):
            pass
    else:
        with writing(tmp_path, alone=alone):  # beside the process that has it
            pass
