"""An index at an address: the tables of a local one, found again by other machines, whoever stopped when."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from pipeline.check.files import check_files
from pipeline.config import RunConfig
from pipeline.errors import (
    DamagedFile,
    FingerprintMismatch,
    MaxactError,
    StoreError,
    UnreadableFile,
    WrongFolder,
)
from pipeline.query.index import open_index
from pipeline.remote.local import release
from pipeline.runs.merge import merge_runs
from pipeline.runs.names import name_index
from pipeline.runs.out_folder import clean_index
from pipeline.runs.repair import repair_index
from pipeline.runs.resume import fetch_parts
from pipeline.runs.run import run_index
from pipeline.store.run_file import RunSummary
from pipeline.store.schemas import SCHEMAS
from tests.fixtures.runs import config, hashes
from tests.fixtures.storage import SIZES, Faults, Machines, contents, faults, machines
from tests.fixtures.tiny import tiny_network

__all__ = ["faults", "machines"]

pytestmark = pytest.mark.slow

RUN = "memory://bucket/run"


@pytest.fixture(scope="module")
def finished(tars: list[Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The objects of a finished run at `RUN`."""
    run_index(asked(tars, RUN, cache=tmp_path_factory.mktemp("cache")), network=tiny_network())
    release()
    return contents("bucket/run")


@pytest.fixture
def stored(finished: dict[str, bytes], machines: Machines) -> MemoryFileSystem:
    """Storage with that run, which this machine has not seen."""
    storage = MemoryFileSystem()
    for name, data in finished.items():
        storage.pipe_file(f"/bucket/run/{name}", data)
    return storage


def asked(tars: list[Path], out: str, **changes: Any) -> RunConfig:
    return config(tars, out, shards_per_part=1, **changes)  # type: ignore[arg-type]


def index(tars: list[Path], out: str = RUN, **changes: Any) -> RunSummary:
    return run_index(asked(tars, out, **changes), network=tiny_network())


def tables(out: str = "bucket/run") -> dict[str, bytes]:
    return {
        name: data for name, data in contents(out).items() if name in {f"{each}.parquet" for each in SCHEMAS}
    }


def local_tables(out: Path) -> dict[str, bytes]:
    return {f"{name}.parquet": (out / f"{name}.parquet").read_bytes() for name in SCHEMAS}


def local_parts(out: Path) -> dict[str, bytes]:
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in (out / "parts").rglob("*")
        if path.is_file()
    }


def remote_parts(out: str = "bucket/run") -> dict[str, bytes]:
    return {name: data for name, data in contents(out).items() if name.startswith("parts/")}


def test_everything_at_the_address_is_what_a_local_run_writes(
    machines: Machines, tars: list[Path], at_home: Path
) -> None:
    summary = index(tars)
    assert (summary.images, summary.resumed_shards) == (sum(SIZES), 0)
    assert tables() == local_tables(at_home)
    assert remote_parts() == local_parts(at_home)
    assert contents("bucket/run").keys() - tables().keys() - remote_parts().keys() == {
        "run.json",
        "names.parquet",
    }
    run = json.loads(contents("bucket/run")["run.json"])
    assert run["config"]["out"] == RUN
    assert str(machines.cache) not in contents("bucket/run")["run.json"].decode()


def test_another_machine_finds_a_finished_run(
    stored: MemoryFileSystem, machines: Machines, tars: list[Path]
) -> None:
    before = contents("bucket/run")
    machines.change()
    assert index(tars).resumed_shards == len(SIZES)
    assert contents("bucket/run") == before


def test_another_machine_goes_on_where_one_has_stopped(
    machines: Machines, tars: list[Path], at_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("pipeline.runs.run.write_index", _stop)
        with pytest.raises(KeyboardInterrupt):
            index(tars)
    assert remote_parts() == local_parts(at_home)
    assert tables() == {}
    with pytest.raises(StoreError, match=rf"the index in {RUN} is not finished"):
        open_index(RUN)
    machines.change()
    assert index(tars).resumed_shards == len(SIZES)
    assert tables() == local_tables(at_home)


def _stop(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_readers_fetch_what_is_there_now(machines: Machines, tars: list[Path], at_home: Path) -> None:
    index(tars[:2])
    machines.change()
    with open_index(RUN) as opened:
        assert opened.sql("SELECT count(*) FROM images").rows == [(SIZES[0] + SIZES[1],)]
    reader = machines.cache
    machines.change()
    index(tars, fresh=True)
    machines.cache = reader
    machines.restart()
    with open_index(RUN) as opened, open_index(at_home) as home:
        assert opened.sql("SELECT count(*) FROM images").rows == [(sum(SIZES),)]
        assert opened.top("second", 1, n=5) == home.top("second", 1, n=5)
        assert opened.query("layer_overview").rows == home.query("layer_overview").rows


def test_a_reader_fetches_no_part_and_only_once(
    faults: type[Faults], machines: Machines, tars: list[Path]
) -> None:
    index(tars, "faulty://bucket/run")
    machines.change()
    Faults.reset()
    open_index("faulty://bucket/run").close()
    fetched = [path for kind, path in Faults.log if kind == "get"]
    assert sorted(path.rpartition("/")[2] for path in fetched) == sorted(
        ["run.json", "names.parquet", *(f"{name}.parquet" for name in SCHEMAS)]
    )
    machines.restart()
    Faults.reset()
    open_index("faulty://bucket/run").close()
    assert {kind for kind, _ in Faults.log} == {"ls"}


def test_kept_peaks_are_fetched_when_they_are_asked_for(machines: Machines, tars: list[Path]) -> None:
    index(tars, keep=("peaks",))
    machines.change()
    with open_index(RUN) as opened:
        assert not (opened.out / "parts").exists()
        assert opened.activations("second", [1]).shape[0] == sum(SIZES)
        assert {path.name for path in (opened.out / "parts").rglob("*.*") if path.suffix != ".json"} == {
            "peaks.npy"
        }


def test_two_runs_merge_at_an_address(machines: Machines, tars: list[Path], at_home: Path) -> None:
    index(tars[:2], "memory://bucket/a")
    machines.change()
    index(tars[2:], "memory://bucket/b")
    machines.change()
    merge_runs(RUN, ["memory://bucket/a", "memory://bucket/b"])
    assert tables() == local_tables(at_home)
    assert remote_parts() == local_parts(at_home)
    machines.change()
    merge_runs(RUN, ["memory://bucket/b"])  # counts once
    assert tables() == local_tables(at_home)


def test_a_local_run_and_one_at_an_address_merge(
    machines: Machines, tars: list[Path], at_home: Path, tmp_path: Path
) -> None:
    index(tars[:2], "memory://bucket/a")
    run_index(config(tars[2:], tmp_path / "b", shards_per_part=1), network=tiny_network())
    merge_runs(tmp_path / "out", ["memory://bucket/a", tmp_path / "b"])
    assert hashes(tmp_path / "out") == hashes(at_home)


def test_a_run_starts_over_at_an_address(machines: Machines, tars: list[Path], at_home: Path) -> None:
    index(tars, top=3)
    MemoryFileSystem().pipe_file("/bucket/run/parts/notes.txt", b"mine")
    machines.change()
    with pytest.raises(FingerprintMismatch, match="top"):
        index(tars)
    index(tars, fresh=True)
    assert tables() == local_tables(at_home)
    assert remote_parts() == {**local_parts(at_home), "parts/notes.txt": b"mine"}


def test_repair_writes_a_damaged_table_again(
    stored: MemoryFileSystem, machines: Machines, tars: list[Path], at_home: Path
) -> None:
    path = "/bucket/run/top.parquet"
    MemoryFileSystem().pipe_file(path, contents("bucket/run")["top.parquet"][:-100])
    machines.change()
    with pytest.raises(DamagedFile, match=rf"{RUN}/top.parquet has .* bytes, but .* were written"):
        open_index(RUN)
    done = repair_index(RUN)
    assert list(done.rebuilt) == ["top"]
    assert tables() == local_tables(at_home)


def test_a_part_of_which_a_file_was_changed_is_indexed_again(
    stored: MemoryFileSystem, machines: Machines, tars: list[Path], at_home: Path
) -> None:
    name = next(name for name in remote_parts() if name.endswith("state.parquet"))
    stored.pipe_file(f"/bucket/run/{name}", b"something else")
    stored.rm_file("/bucket/run/top.parquet")
    with pytest.raises(
        DamagedFile, match=rf"{RUN}/{name} .* was changed after it was committed; run the same"
    ):
        index(tars)
    assert f"{name.rpartition('/')[0]}.json" not in contents("bucket/run")
    machines.change()
    assert index(tars).resumed_shards == len(SIZES) - 1
    assert tables() == local_tables(at_home)
    assert remote_parts() == local_parts(at_home)


def test_parts_are_fetched_when_they_are_merged(
    stored: MemoryFileSystem,
    machines: Machines,
    tars: list[Path],
    at_home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stored.rm_file("/bucket/run/top.parquet")
    seen: list[int] = []

    def look(*arguments: Any) -> None:
        seen.append(len(list((machines.cache / "remote").rglob("state.parquet"))))
        fetch_parts(*arguments)
        seen.append(len(list((machines.cache / "remote").rglob("state.parquet"))))

    monkeypatch.setattr("pipeline.runs.run.fetch_parts", look)
    assert index(tars).resumed_shards == len(SIZES)
    assert seen == [0, len(SIZES)]
    assert tables() == local_tables(at_home)


@pytest.mark.parametrize("lost", ["commit", "tables"])
def test_a_commit_file_and_its_tables_need_each_other(
    stored: MemoryFileSystem, machines: Machines, tars: list[Path], at_home: Path, lost: str
) -> None:
    commit = next(name for name in remote_parts() if name.endswith(".json"))
    tables_of = [name for name in remote_parts() if name.startswith(f"{commit.removesuffix('.json')}/")]
    for name in [commit] if lost == "commit" else tables_of:
        stored.rm_file(f"/bucket/run/{name}")
    assert index(tars).resumed_shards == len(SIZES) - 1
    assert tables() == local_tables(at_home)
    assert remote_parts() == local_parts(at_home)


def test_another_machine_that_commits_the_same_parts_changes_nothing(
    faults: type[Faults], machines: Machines, tars: list[Path], at_home: Path, finished: dict[str, bytes]
) -> None:
    theirs = {name: data for name, data in finished.items() if name.startswith("parts/")}

    def meanwhile(number: int, kind: str, path: str) -> None:
        if kind == "put" and path.endswith("run.json") and not remote_parts():
            for name, data in theirs.items():
                MemoryFileSystem().pipe_file(f"/bucket/run/{name}", data)

    Faults.reset(meanwhile)
    assert index(tars, "faulty://bucket/run").resumed_shards == 0
    assert remote_parts() == theirs
    assert tables() == local_tables(at_home)


def test_another_run_that_was_started_meanwhile_is_not_replaced(
    machines: Machines, tars: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    index(tars, "memory://bucket/other", top=3)
    theirs = contents("bucket/other")["run.json"]

    def meanwhile(*_: object, **__: object) -> None:
        MemoryFileSystem().pipe_file("/bucket/run/run.json", theirs)

    monkeypatch.setattr("pipeline.runs.run.remove_stale_thumbnails", meanwhile)
    with pytest.raises(FingerprintMismatch, match=rf"{RUN} got the run.json of another run"):
        index(tars)
    assert contents("bucket/run")["run.json"] == theirs
    assert tables() == {}


def test_parts_that_another_machine_has_removed_meanwhile_are_missed(
    machines: Machines, tars: list[Path], at_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def meanwhile(*arguments: Any) -> None:
        commit = min(name for name in remote_parts() if name.endswith(".json"))
        MemoryFileSystem().rm_file(f"/bucket/run/{commit}")
        fetch_parts(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr("pipeline.runs.run.fetch_parts", meanwhile)
        with pytest.raises(StoreError, match=rf"the part of shard tiny-00\d.tar was removed from {RUN}"):
            index(tars)
    assert tables() == {}
    assert index(tars).resumed_shards == len(SIZES) - 1
    assert tables() == local_tables(at_home)


def test_names_are_written_to_the_address(
    stored: MemoryFileSystem, machines: Machines, tars: list[Path]
) -> None:
    names = contents("bucket/run")["names.parquet"]
    MemoryFileSystem().rm_file("/bucket/run/names.parquet")
    machines.change()
    name_index(RUN)
    assert contents("bucket/run")["names.parquet"] == names


def test_clean_removes_at_the_address(machines: Machines, tars: list[Path]) -> None:
    index(tars[:2])
    names = contents("bucket/run")["names.parquet"]
    index(tars, fresh=True)
    MemoryFileSystem().pipe_file("/bucket/run/names.parquet", names)
    machines.change()
    assert clean_index(RUN) == 1
    assert "names.parquet" not in contents("bucket/run")


EVERY = 9
"""Of so many writes one is the last of a machine, among the tests of `make test`."""


@pytest.mark.parametrize(
    "stops",
    [
        pytest.param(range(2, 60, EVERY), marks=pytest.mark.slow),
        pytest.param(range(60), marks=pytest.mark.thorough),
    ],
    ids=["some", "all"],
)
def test_whoever_stops_anywhere_leaves_what_the_next_machine_finishes(
    faults: type[Faults], machines: Machines, tars: list[Path], at_home: Path, stops: range
) -> None:
    """A machine vanishes before a write, of each of several runs before another one."""
    out = "faulty://bucket/run"
    wanted, parts = local_tables(at_home), local_parts(at_home)
    stopped = 0
    for stop in stops:
        MemoryFileSystem.store.clear()
        machines.change()
        writes = 0

        def vanish(number: int, kind: str, path: str, *, stop: int = stop) -> BaseException | None:
            nonlocal writes
            writes += kind in ("put", "rm")
            return KeyboardInterrupt() if writes > stop else None

        Faults.reset(vanish)
        try:
            index(tars, out)
        except KeyboardInterrupt:
            stopped += 1
            Faults.reset()
            machines.change()
            _check_readable(out)
            index(tars, out)
        assert tables() == wanted, f"stopped before write {stop}"
        assert remote_parts() == parts, f"stopped before write {stop}"
    writes_of_a_run = len(wanted) + len(parts) + 3  # run.json twice, names
    assert stopped == len([stop for stop in stops if stop < writes_of_a_run])


def _check_readable(out: str) -> None:
    """What a reader sees is an error of one line, or a complete index."""
    problem = ""
    try:
        open_index(out).close()
    except StoreError as error:
        problem = str(error)
    assert not problem or "not finished" in problem or "holds no index" in problem


def test_requests_that_fail_in_passing_change_nothing(
    faults: type[Faults], machines: Machines, tars: list[Path], at_home: Path
) -> None:
    seen: dict[tuple[str, str], int] = {}
    errors = [
        TimeoutError("timed out"),
        OSError(16, "Please reduce your request rate (SlowDown)"),
        OSError(121, "We encountered an internal error (500)"),
        ConnectionResetError(104, "Connection reset by peer"),
        "after",
    ]

    def fail_first(number: int, kind: str, path: str) -> Any:
        """Every request fails once or twice, each time differently."""
        count = seen[kind, path] = seen.get((kind, path), -1) + 1
        return errors[(number + count) % len(errors)] if count % 3 != 2 else None

    Faults.reset(fail_first)
    index(tars, "faulty://bucket/run")
    assert tables() == local_tables(at_home)
    assert remote_parts() == local_parts(at_home)
    machines.change()
    with open_index("faulty://bucket/run") as opened, open_index(at_home) as home:
        assert opened.top("second", 1) == home.top("second", 1)


def test_a_file_that_arrives_cut_is_fetched_again(
    faults: type[Faults], machines: Machines, tars: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    index(tars, "faulty://bucket/run")
    machines.change()
    get, cut = Faults.get_file, set[str]()

    def short(self: Faults, rpath: str, lpath: str, **kwargs: Any) -> None:
        get(self, rpath, lpath, **kwargs)
        if rpath not in cut:
            cut.add(rpath)
            Path(lpath).write_bytes(Path(lpath).read_bytes()[:7])

    monkeypatch.setattr(Faults, "get_file", short)
    with open_index("faulty://bucket/run") as opened:
        assert opened.sql("SELECT count(*) FROM images").rows == [(sum(SIZES),)]
    assert len(cut) > 3


def test_storage_that_stays_away_ends_the_run_and_the_next_one_goes_on(
    faults: type[Faults], machines: Machines, tars: list[Path], at_home: Path
) -> None:
    out = "faulty://bucket/run"

    def gone(number: int, kind: str, path: str) -> BaseException | None:
        return TimeoutError("timed out") if kind == "put" and path.endswith("units.parquet") else None

    Faults.reset(gone)
    with pytest.raises(
        UnreadableFile,
        match=rf"{out}/units.parquet cannot be written, tried 6 times: timed out; run the same command again",
    ):
        index(tars, out)
    Faults.reset()
    assert index(tars, out).resumed_shards == len(SIZES)  # in the same process
    assert tables() == local_tables(at_home)


def test_what_is_not_permitted_is_not_tried_again(
    faults: type[Faults], machines: Machines, tars: list[Path]
) -> None:
    def deny(number: int, kind: str, path: str) -> BaseException | None:
        return PermissionError("Access Denied.") if kind == "put" else None

    Faults.reset(deny)
    with pytest.raises(StoreError, match=r"run.json cannot be written: Access Denied; check the credentials"):
        index(tars, "faulty://bucket/run")
    assert sum(kind == "put" for kind, _ in Faults.log) == 1


def test_errors_of_every_kind_are_of_maxact(
    faults: type[Faults], machines: Machines, tars: list[Path]
) -> None:
    for error in (
        ValueError("odd"),
        RuntimeError("odd"),
        KeyError("odd"),
        OSError(28, "No space left on device"),
    ):
        Faults.reset(lambda number, kind, path, error=error: error if kind == "put" else None)  # type: ignore[misc]
        with pytest.raises(MaxactError, match=r"odd|No space left"):
            index(tars, "faulty://bucket/run")


def test_other_objects_below_the_address_are_left_alone(
    stored: MemoryFileSystem, machines: Machines, tars: list[Path]
) -> None:
    others = [
        "../../../escape.txt",
        "parts/../../escape.json",
        "renders/a\\b.png",
        "model.pt",
        "logs/a.parquet",
    ]
    for name in others:
        MemoryFileSystem.store[f"/bucket/run/{name}"] = MemoryFileSystem.store["/bucket/run/run.json"]
    assert check_files(RUN).damaged == {}
    assert not list(machines.cache.parent.rglob("escape*"))
    assert not list(machines.cache.rglob("model.pt"))
    index(tars, fresh=True)
    assert {f"/bucket/run/{name}" for name in others} <= MemoryFileSystem.store.keys()


def test_an_index_is_not_written_among_its_images(machines: Machines) -> None:
    with pytest.raises(WrongFolder, match="is not apart from the dataset"):
        run_index(RunConfig(data="memory://bucket/run/data", out=RUN))  # type: ignore[arg-type]
