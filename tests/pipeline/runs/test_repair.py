"""Damaged tables and parts: refused when read, rebuilt by `repair` and by resuming, never merged."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.check.audit import check_index
from pipeline.errors import DamagedFile, FingerprintMismatch, StoreError
from pipeline.progress import Silent
from pipeline.query.index import open_index
from pipeline.runs import merge as merging
from pipeline.runs.merge import merge_runs
from pipeline.runs.repair import repair_index
from pipeline.runs.run import run_index
from pipeline.state.commit import list_commits, remove_part
from pipeline.store.schemas import SCHEMAS
from pipeline.store.tables import write_table
from tests.fixtures.commands import run
from tests.fixtures.complete_index import flip
from tests.fixtures.runs import config, hashes
from tests.fixtures.tables import edit_run
from tests.fixtures.tiny import tiny_network, write_tars

pytestmark = pytest.mark.slow


class Notes(Silent):
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture(scope="module")
def tars(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_tars(tmp_path_factory.mktemp("data"), [6, 5, 4])


@pytest.fixture(scope="module")
def whole(tars: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "index"
    index(tars, out)
    return out


@pytest.fixture
def out(whole: Path, tmp_path: Path) -> Path:
    return shutil.copytree(whole, tmp_path / "index")


def index(tars: list[Path], out: Path, notes: Notes | None = None) -> None:
    run_index(config(tars, out, shards_per_part=1), network=tiny_network(), reporter=notes)


def replace_table(path: Path) -> None:
    """Another table of the same name, readable and of the right schema."""
    schema = SCHEMAS[path.stem]
    write_table(path, schema, [schema.empty_table()])


def flip_in_the_middle(path: Path) -> None:
    flip(path, path.stat().st_size // 2)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "missing": Path.unlink,
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-200]),
    "empty": lambda path: path.write_bytes(b""),
    "replaced": replace_table,
    "flipped": flip_in_the_middle,
}


def strip_digests(out: Path) -> None:
    """Make run.json what an earlier version wrote."""
    content = json.loads((out / "run.json").read_text())
    for name in ("tables", "parts", "sha256"):
        del content[name]
    (out / "run.json").write_text(json.dumps(content))


def unseal(path: Path) -> None:
    """Make a commit file what an earlier version wrote."""
    fields = json.loads(path.read_text())
    del fields["sha256"], fields["format"]
    path.write_text(json.dumps(fields))


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("table", ["top", "layers", "errors"])
def test_a_damaged_table_is_refused_and_rebuilt_byte_for_byte(
    out: Path, whole: Path, table: str, damage: str
) -> None:
    DAMAGES[damage](out / f"{table}.parquet")
    for read in (open_index, lambda out: check_index(out, network=tiny_network())):
        with pytest.raises(DamagedFile, match=rf"^\S*{table}\.parquet [^\n]*`maxact repair \S*` rebuilds it"):
            read(out)
    done = repair_index(out)
    assert list(done.rebuilt) == [table]
    assert done.identical
    assert hashes(out) == hashes(whole)
    assert (out / "run.json").read_bytes() == (whole / "run.json").read_bytes()
    assert sorted(path.name for path in out.iterdir()) == sorted(path.name for path in whole.iterdir())
    assert repair_index(out).rebuilt == {}


@pytest.mark.parametrize("damage", DAMAGES)
def test_resuming_rebuilds_a_damaged_table(tars: list[Path], out: Path, whole: Path, damage: str) -> None:
    DAMAGES[damage](out / "units.parquet")
    notes = Notes()
    index(tars, out, notes)
    assert not any("nothing to do" in line for line in notes.lines)
    assert any("units.parquet" in line and "written again from the parts" in line for line in notes.lines)
    assert hashes(out) == hashes(whole)


def test_tables_without_digests_are_read_and_repair_records_them(out: Path, whole: Path) -> None:
    strip_digests(out)
    for path in (out / "parts").glob("*.json"):
        unseal(path)
    open_index(out).close()
    notes = Notes()
    check_index(out, network=tiny_network(), reporter=notes)
    assert f"{out} has no digests of its tables; `maxact repair {out}` adds them" in notes.lines
    flip_in_the_middle(out / "strata.parquet")
    done = repair_index(out)
    assert (list(done.rebuilt), done.identical, done.recorded) == (["strata"], None, True)
    assert hashes(out) == hashes(whole)
    assert content_of(out) == content_of(whole), "the digests of run.json and of the commit files included"


def test_tables_that_another_version_of_a_library_wrote_are_replaced_together(out: Path, whole: Path) -> None:
    """The record says what was written then; rebuilding now gives other bytes."""
    edit_run(out, lambda run: run["tables"]["top"].update(sha256="0" * 64, tail="0" * 64))
    done = repair_index(out)
    assert (done.identical, done.recorded) == (False, True)
    assert hashes(out) == hashes(whole)
    assert repair_index(out).rebuilt == {}


@pytest.mark.parametrize("damage", ["missing", "flipped"])
@pytest.mark.parametrize("file", ["commit", "table"])
def test_a_damaged_part_is_named_and_only_its_shards_run_again(
    tars: list[Path], out: Path, whole: Path, file: str, damage: str
) -> None:
    commit = list_commits(out / "parts")[1]
    DAMAGES[damage](commit.path if file == "commit" else commit.folder / "state.parquet")
    (out / "top.parquet").unlink()
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with pytest.raises(DamagedFile) as refused:
        repair_index(out)
    message = str(refused.value)
    assert "which indexes only the missing shards" in message
    assert "\n" not in message
    if (file, damage) != ("commit", "missing"):
        assert commit.path.stem in message
    assert before == {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    summary = run_index(config(tars, out, shards_per_part=1), network=tiny_network())
    assert summary.resumed_shards == 2
    assert hashes(out) == hashes(whole)


def test_an_unfinished_index_is_not_repaired(out: Path) -> None:
    edit_run(out, lambda run: run.update(status="incomplete"))
    with pytest.raises(StoreError, match="is not finished"):
        repair_index(out)
    assert run("repair", out.parent / "none").exit_code == 2
    assert not (out.parent / "none").exists()


def test_the_state_of_another_version_is_not_rebuilt(out: Path) -> None:
    edit_run(out, lambda run: run["fields"].update({"state version": 2}))
    (out / "top.parquet").unlink()
    with pytest.raises(StoreError, match="has state version 2, this maxact rebuilds tables of version 5"):
        repair_index(out)


def test_a_changed_run_file_is_refused_and_written_anew_by_resuming(
    tars: list[Path], out: Path, whole: Path
) -> None:
    text = (out / "run.json").read_text()
    (out / "run.json").write_text(text.replace('"rf_h": 3', '"rf_h": 8'))
    with pytest.raises(DamagedFile, match=r"run\.json was changed after it was written"):
        open_index(out)
    notes = Notes()
    index(tars, out, notes)
    assert any("run.json was changed" in line and "written anew" in line for line in notes.lines)
    assert json.loads((out / "run.json").read_text())["layers"] == json.loads(text)["layers"]
    assert hashes(out) == hashes(whole)


@pytest.fixture
def interrupted(out: Path) -> Path:
    """A run of which two parts of three are committed."""
    edit_run(out, lambda run: run.update(status="incomplete", tables={}, parts=[]))
    remove_part(list_commits(out / "parts")[2].path)
    return out


@pytest.mark.parametrize("sealed", [True, False])
def test_an_edited_commit_file_of_an_unfinished_run_gives_no_wrong_tables(
    tars: list[Path], interrupted: Path, whole: Path, sealed: bool
) -> None:
    path = list_commits(interrupted / "parts")[0].path
    path.write_text(path.read_text().replace('"images": 6', '"images": 5'))
    if not sealed:
        unseal(path)
    notes = Notes()
    index(tars, interrupted, notes)
    assert any(path.name in line and "its shards are indexed again" in line for line in notes.lines)
    assert hashes(interrupted) == hashes(whole)


def test_an_unsealed_commit_file_is_still_read(tars: list[Path], interrupted: Path, whole: Path) -> None:
    for path in (interrupted / "parts").glob("*.json"):
        unseal(path)
    summary = run_index(config(tars, interrupted, shards_per_part=1), network=tiny_network())
    assert summary.resumed_shards == 2
    assert hashes(interrupted) == hashes(whole)


def test_a_part_of_another_run_is_refused_wherever_parts_are_read(
    tars: list[Path], out: Path, tmp_path: Path
) -> None:
    run_index(config(tars[:1], tmp_path / "other", top=3), network=tiny_network())
    (commit,) = list_commits(tmp_path / "other" / "parts")
    shutil.copy(commit.path, out / "parts")
    shutil.copytree(commit.folder, out / "parts" / commit.folder.name)
    (out / "top.parquet").unlink()
    refused = rf"{commit.path.name} is a part of another run .*; move it"
    with pytest.raises(FingerprintMismatch, match=refused):
        index(tars, out)
    with pytest.raises(FingerprintMismatch, match=refused):
        repair_index(out)
    with pytest.raises(FingerprintMismatch, match=refused):
        merge_runs(tmp_path / "merged", [out])
    assert not (tmp_path / "merged").exists()


def content_of(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".lock" and path.name != ".lock"
    }


@pytest.fixture(scope="module")
def machines(tars: list[Path], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("machines")
    for number, chosen in enumerate((tars[:2], tars[2:])):
        index(chosen, folder / f"machine-{number}")
    return sorted(folder.iterdir())


@pytest.fixture
def sources(machines: list[Path], tmp_path: Path) -> list[Path]:
    return [shutil.copytree(machine, tmp_path / machine.name) for machine in machines]


@pytest.mark.parametrize("file", ["commit", "table"])
def test_a_damaged_part_is_not_merged_and_its_folder_is_named(
    sources: list[Path], tmp_path: Path, file: str
) -> None:
    commit = list_commits(sources[1] / "parts")[0]
    flip_in_the_middle(commit.path if file == "commit" else commit.folder / "sample.parquet")
    target = tmp_path / "all"
    with pytest.raises(DamagedFile, match=rf"^{sources[1]} cannot be merged: .*leave this run out$"):
        merge_runs(target, sources)
    assert not target.exists()
    merge_runs(target, sources[:1])
    before = content_of(target)
    with pytest.raises(DamagedFile, match=rf"^{sources[1]} cannot be merged"):
        merge_runs(target, sources[1:])
    assert content_of(target) == before
    open_index(target).close()


def test_a_part_that_is_intact_elsewhere_takes_the_place_of_a_damaged_one(
    sources: list[Path], tmp_path: Path, whole: Path
) -> None:
    target = tmp_path / "all"
    merge_runs(target, sources)
    commits = list_commits(target / "parts")
    flip_in_the_middle(commits[0].folder / "images.parquet")
    flip_in_the_middle(commits[2].path)
    merge_runs(target, sources)
    for commit in list_commits(target / "parts"):
        commit.verify()
    assert hashes(target) == hashes(whole)


@pytest.mark.parametrize("step", ["copy_part", "write_index"])
def test_a_merge_that_fails_leaves_the_target_as_it_was(
    sources: list[Path], tmp_path: Path, whole: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "all"
    merge_runs(target, sources[:1])
    before = content_of(target)
    original = getattr(merging, step)

    def failing(*arguments: Any, **options: Any) -> Any:
        original(*arguments, **options)
        raise StoreError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(merging, step, failing)
        with pytest.raises(StoreError, match="No space left"):
            merge_runs(target, sources[1:])
        with pytest.raises(StoreError, match="No space left"):
            merge_runs(tmp_path / "new", sources)
    assert content_of(target) == before
    assert content_of(tmp_path / "new") == {}
    open_index(target).close()
    merge_runs(target, sources[1:])
    assert hashes(target) == hashes(whole)


def test_repair_as_typed(out: Path) -> None:
    (out / "top.parquet").unlink()
    flip(out / "images.parquet", 30)
    refused = run("top", out, "first", "0")
    assert refused.exit_code == 1
    assert refused.stderr == (
        f"error: {out}/images.parquet was changed after it was written (its SHA-256 differs), "
        f"{out}/top.parquet is missing; `maxact repair {out}` rebuilds them from the parts\n"
    )
    result = run("repair", out)
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        f"{out}/images.parquet was changed after it was written (its SHA-256 differs): rebuilt",
        f"{out}/top.parquet is missing: rebuilt",
        f"{out}: 2 tables rebuilt with the recorded bytes",
    ]
    assert run("top", out, "first", "0").exit_code == 0
    assert run("repair", out).stdout == f"{out}: all tables are intact\n"
