"""The working copy: what is fetched, what is put in which order, and what is never touched."""

from __future__ import annotations

import errno
import itertools
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from pipeline.errors import StoreError
from pipeline.remote.address import Address, open_address
from pipeline.remote.ledger import Entry, Ledger
from pipeline.remote.local import local_folder
from pipeline.remote.mirror import Mirror
from pipeline.remote.objects import ObjectInfo, Objects
from pipeline.store.seals import seal_json
from pipeline.working_copies import address_of, publish, pull, shown, withdraw
from tests.fixtures.storage import Faults, Machines, contents, faults, machines

__all__ = ["faults", "machines"]

OUT = "memory://bucket/run"
PART = "parts/0123456789abcdef"

Open = Callable[[], tuple[Path, Mirror]]


@pytest.fixture
def another(machines: Machines, tmp_path: Path) -> Open:
    """Opens working copies of machines that work at the same time."""
    numbers = itertools.count()

    def opened() -> tuple[Path, Mirror]:
        place = tmp_path / f"m{next(numbers)}"
        place.mkdir()
        address = open_address(OUT)
        assert isinstance(address, Address)
        return place / "run", Mirror(Objects(address), place / "run", place / "ledger")

    return opened


def store(name: str, data: bytes) -> None:
    MemoryFileSystem().pipe_file(f"/bucket/run/{name}", data)


def write(folder: Path, name: str, data: bytes) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def commit(text: str) -> bytes:
    return seal_json({"tables": {"state": "x"}, "text": text}).encode()


def test_patterns_say_what_is_fetched(another: Open) -> None:
    names = [
        "run.json",
        "top.parquet",
        f"{PART}.json",
        f"{PART}/state.parquet",
        f"{PART}/peaks.npy",
        "atlas/.files",
    ]
    for name in [*names, ".lock", f"parts/.{PART[6:]}.host-1-2.tmp/state.parquet", "renders/.a.checkpoint"]:
        store(name, name.encode())
    expected: dict[tuple[str, ...], set[str]] = {
        ("*",): {"run.json", "top.parquet"},
        ("run.json",): {"run.json"},
        ("nothing.json",): set(),
        ("parts/*.json",): {f"{PART}.json"},
        ("parts/*/peaks.npy",): {f"{PART}/peaks.npy"},
        ("parts/*",): {f"{PART}.json", f"{PART}/state.parquet", f"{PART}/peaks.npy"},
        ("**",): set(names),
        ("*", "atlas/*"): {"run.json", "top.parquet", "atlas/.files"},
    }
    for patterns, found in expected.items():
        folder, mirror = another()
        mirror.pull(patterns)
        assert files(folder) == {name: name.encode() for name in found}, patterns


def test_what_was_replaced_or_removed_by_another_machine_is_seen(another: Open) -> None:
    store("run.json", b"old")
    store("top.parquet", b"old")
    folder, mirror = another()
    mirror.pull(("*",))
    store("run.json", b"new")  # of the same size
    MemoryFileSystem().rm_file("/bucket/run/top.parquet")
    store("units.parquet", b"more")
    mirror.pull(("*",))
    assert files(folder) == {"run.json": b"new", "units.parquet": b"more"}


def test_files_are_put_in_the_order_in_which_a_reader_needs_them(
    faults: type[Faults], machines: Machines
) -> None:
    folder = local_folder("faulty://bucket/run")
    names = [
        "run.json", "top.parquet", f"{PART}.json", f"{PART}/state.parquet", "renders/a/0.png", "atlas/.files",
        "atlas/index.html",
    ]  # fmt: skip
    for name in names:
        write(folder, name, name.encode())
    publish(folder)
    put = [path.removeprefix("/bucket/run/").removeprefix("faulty://bucket/run/") for _, path in Faults.log]
    place = {name: put.index(name) for name in names}
    assert place["run.json"] == len(names) - 1
    assert place[f"{PART}.json"] > place[f"{PART}/state.parquet"]
    assert place["top.parquet"] > place[f"{PART}.json"]
    assert place["top.parquet"] > place["renders/a/0.png"]
    assert place["atlas/.files"] > place["atlas/index.html"]
    Faults.reset()
    publish(folder)
    assert Faults.log == ()


def test_only_what_was_withdrawn_is_removed(machines: Machines) -> None:
    for name in ("run.json", "top.parquet", "renders/a/0.png", f"{PART}.json", f"{PART}/state.parquet"):
        store(name, name.encode())
    folder = local_folder(OUT, "**")
    (folder / "top.parquet").unlink()  # lost, not removed by a command
    (folder / "renders/a/0.png").unlink()
    withdraw(folder / "renders/a/0.png")
    for name in (f"{PART}.json", f"{PART}/state.parquet"):
        (folder / name).unlink()
    withdraw(folder / f"{PART}.json")
    withdraw(folder / PART)
    publish(folder)
    assert contents("bucket/run").keys() == {"run.json", "top.parquet"}
    pull(folder, "*")
    assert (folder / "top.parquet").read_bytes() == b"top.parquet"


def test_what_was_withdrawn_and_written_again_stays(machines: Machines) -> None:
    store("names.parquet", b"old")
    folder = local_folder(OUT, "*")
    (folder / "names.parquet").unlink()
    withdraw(folder / "names.parquet")
    write(folder, "names.parquet", b"new")
    publish(folder)
    assert contents("bucket/run") == {"names.parquet": b"new"}


def test_what_an_ended_process_has_not_put_is_forgotten(machines: Machines) -> None:
    store("run.json", b"there")
    folder = local_folder(OUT, "*")
    write(folder, "run.json", b"never put")
    write(folder, f"{PART}/state.parquet", b"never put")
    machines.restart()
    assert local_folder(OUT, "**") == folder
    assert files(folder) == {"run.json": b"there"}


def test_what_this_process_has_written_is_not_replaced_before_it_is_put(machines: Machines) -> None:
    store("names.parquet", b"old")
    folder = local_folder(OUT, "*")
    write(folder, "names.parquet", b"written here")
    pull(folder, "*")
    assert (folder / "names.parquet").read_bytes() == b"written here"


@pytest.mark.parametrize(
    ("theirs", "tables", "stays"),
    [
        (commit("theirs"), True, True),
        (commit("ours"), True, False),
        (commit("theirs"), False, False),
        (commit("theirs")[:-20], True, False),
    ],
    ids=["first", "same", "without tables", "cut short"],
)
def test_of_two_parts_of_one_name_the_first_stays(
    another: Open, theirs: bytes, tables: bool, stays: bool
) -> None:
    folder, mirror = another()
    write(folder, f"{PART}/state.parquet", b"ours")
    write(folder, f"{PART}.json", commit("ours"))
    store(f"{PART}.json", theirs)
    if tables:
        store(f"{PART}/state.parquet", b"theirs")
    mirror.publish((f"{PART}/*", f"{PART}.json"))
    mirror.pull(("parts/*",))
    expected = {
        f"{PART}/state.parquet": b"theirs" if stays else b"ours",
        f"{PART}.json": theirs if stays else commit("ours"),
    }
    assert contents("bucket/run") == expected
    assert files(folder) == expected


def test_processes_of_one_machine_have_folders_of_their_own(machines: Machines, tmp_path: Path) -> None:
    import subprocess
    import sys

    folder = local_folder(OUT, cache=tmp_path)
    program = "import sys; from pathlib import Path; from pipeline.remote.local import local_folder; "
    program += f"print(local_folder({OUT!r}, cache=Path(sys.argv[1])))"
    found = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True
    ).stdout.strip()
    assert Path(found).name == folder.name == "run"
    assert Path(found) != folder


def test_messages_name_the_address(machines: Machines) -> None:
    folder = local_folder(OUT)
    assert address_of(folder) == OUT
    assert address_of(folder.parent) == str(folder.parent)
    assert str(StoreError(f"{folder}/top.parquet is missing")) == f"{OUT}/top.parquet is missing"
    machines.restart()
    assert shown(str(folder)) == str(folder)


def test_a_ledger_that_was_cut_is_read_as_far_as_it_goes(machines: Machines) -> None:
    for name in ("run.json", "top.parquet"):
        store(name, name.encode())
    folder = local_folder(OUT, "*")
    ledger = folder.parent / "ledger"
    lines = ledger.read_text().splitlines()
    assert sorted(json.loads(line)[0] for line in lines) == ["run.json", "top.parquet"]
    ledger.write_text(f"{lines[0]}\n{lines[1][:-5]}")
    machines.restart()
    assert files(local_folder(OUT, "*")) == {name: name.encode() for name in ("run.json", "top.parquet")}


def test_storage_that_does_not_say_versions_is_read_each_time(
    another: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.remote.objects._VERSION_FIELDS", ())
    store("run.json", b"old")
    folder, mirror = another()
    mirror.pull(("*",))
    store("run.json", b"new")
    mirror.pull(("*",))
    assert files(folder) == {"run.json": b"new"}


def test_a_ledger_forgets_what_was_removed(tmp_path: Path) -> None:
    info = ObjectInfo(3, "v1")
    lines = [json.dumps(["a", 3, "v1", 3, 7]), json.dumps(["b", 3, "v1", 3, 7]), json.dumps(["a"])]
    (tmp_path / "ledger").write_text("\n".join([*lines, json.dumps(["c"]), '["d", 1', "[]"]))
    found = Ledger(tmp_path / "ledger")
    assert list(found.names()) == ["b"]
    assert found["a"] is None
    assert found["b"] == Entry(info, 3, 7)


def test_a_file_that_cannot_be_written_is_named(another: Open) -> None:
    store("run.json", b"{}")
    folder, mirror = another()
    (folder / "run.json").mkdir()
    with pytest.raises(StoreError, match=r"cannot write .*run\.json: .*; free some space"):
        mirror.pull(["run.json"])
    assert [path.name for path in folder.iterdir()] == ["run.json"]


def test_what_vanishes_between_listing_and_reading_is_not_there(
    another: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    store("top.parquet", b"12")
    folder, mirror = another()

    def gone(files: MemoryFileSystem, path: str, *given: object, **options: object) -> None:
        raise FileNotFoundError(path)

    monkeypatch.setattr(MemoryFileSystem, "get_file", gone)
    mirror.pull(["*"])
    assert files(folder) == {}


def test_an_object_that_arrives_in_part_is_written_again(
    another: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.remote.attempts.time.sleep", lambda seconds: None)
    folder, mirror = another()
    write(folder, "top.parquet", b"123456")
    put, sent = MemoryFileSystem.put_file, []

    def cut(storage: MemoryFileSystem, path: str, target: str, *given: object, **options: object) -> None:
        sent.append(target)
        if len(sent) < 3:
            storage.pipe_file(target, b"12")
        else:
            put(storage, path, target, *given, **options)

    monkeypatch.setattr(MemoryFileSystem, "put_file", cut)
    mirror.publish(["top.parquet"])
    assert len(sent) == 3
    assert contents("bucket/run")["top.parquet"] == b"123456"


def test_an_object_that_vanishes_when_it_is_written_is_named(
    another: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, mirror = another()
    write(folder, "top.parquet", b"123456")
    monkeypatch.setattr(MemoryFileSystem, "put_file", lambda *given, **options: None)
    with pytest.raises(StoreError, match=r"top\.parquet cannot be written: it was, and is not there"):
        mirror.publish(["top.parquet"])


def test_a_damaged_run_json_at_the_address_may_be_replaced(another: Open) -> None:
    folder, mirror = another()
    write(folder, "run.json", seal_json({"fields": {"network": "a"}}).encode())
    for theirs in (b"no json", b"[]", b"{}"):
        store("run.json", theirs)
        mirror.publish(["run.json"])
        assert contents("bucket/run")["run.json"] == (folder / "run.json").read_bytes()
        folder, mirror = another()
        write(folder, "run.json", seal_json({"fields": {"network": "a"}}).encode())
    store("run.json", seal_json({"fields": {"network": "b"}}).encode())
    with pytest.raises(StoreError, match=r"got the run\.json of another run while this command wrote there"):
        mirror.publish(["run.json"])


@pytest.mark.parametrize(
    ("name", "number", "said"),
    [
        ("os.open", errno.EACCES, "cannot write into .*: Permission denied; files of memory://bucket/run"),
        ("fcntl.flock", errno.ENOLCK, "cannot lock .*: No locks available; set MAXACT_CACHE to a folder"),
    ],
)
def test_a_cache_that_cannot_be_used_is_named(
    machines: Machines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, number: int, said: str
) -> None:
    def fail(*given: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(f"pipeline.remote.local.{name}", fail)
    with pytest.raises(StoreError, match=said):
        local_folder(OUT, cache=tmp_path)
