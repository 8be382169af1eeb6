"""`maxact check --files`: one changed byte anywhere in an index is found, and the right file named."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import pytest

from pipeline.check.files import check_files
from pipeline.errors import StoreError
from pipeline.store.schemas import SCHEMAS
from pipeline.store.seals import seal_json
from tests.fixtures.commands import run
from tests.fixtures.complete_index import build_complete_index, files_of, flip


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_complete_index(tmp_path_factory.mktemp("complete"))


@pytest.fixture
def out(whole: Path, tmp_path: Path) -> Path:
    return shutil.copytree(whole, tmp_path / "index")


def flip_bytes(out: Path, places: int) -> None:
    """Flip a bit at both ends and at some offsets of every file, one at a time."""
    draw = random.Random(5)
    files = files_of(out)
    assert {"run.json", "top.parquet", "renders.parquet", "0.png", "first.pt", "state.parquet"} <= {
        path.name for path in files
    }
    for path in files:
        data = path.read_bytes()
        offsets = {0, len(data) - 1, *(draw.randrange(len(data)) for _ in range(places))}
        for offset in sorted(offsets):
            flip(path, offset, draw.randrange(8))
            found = check_files(out)
            name = path.relative_to(out).as_posix()
            assert list(found.damaged) == [name], f"byte {offset} of {name}"
            path.write_bytes(data)
    assert not check_files(out).damaged


def test_a_changed_byte_of_any_file_is_found_and_the_file_named(out: Path) -> None:
    flip_bytes(out, places=1)


@pytest.mark.thorough
@pytest.mark.slow
def test_a_changed_byte_anywhere_is_found(out: Path) -> None:
    flip_bytes(out, places=24)


def test_an_intact_index_is_verified_completely(out: Path) -> None:
    found = check_files(out)
    assert (found.damaged, found.unrecorded, found.foreign) == ({}, (), ())
    assert found.verified == len(files_of(out))


def test_a_missing_file_is_named(out: Path) -> None:
    for path in files_of(out):
        name = path.relative_to(out).as_posix()
        if name in ("run.json", "prior/first.pt", "robust/network.pt"):
            continue  # without it there is no index; nothing records that something was trained
        data = path.read_bytes()
        path.unlink()
        assert name in check_files(out).damaged, name
        path.write_bytes(data)


def test_it_needs_neither_dataset_nor_network(whole: Path, tmp_path: Path) -> None:
    moved = shutil.copytree(whole, tmp_path / "elsewhere")
    for name in ("top.parquet", "renders/first/1.png"):
        flip(moved / name, 40)
    result = run("check", moved, "--files")
    assert result.exit_code == 1
    first, second, summary = result.stdout.splitlines()
    assert first == f"{moved}/renders/first/1.png was changed after it was written (its SHA-256 differs)"
    assert second.startswith(f"{moved}/top.parquet was changed")
    assert summary.endswith("verified, 2 damaged or missing")


def test_files_of_others_are_listed_and_are_no_error(out: Path) -> None:
    (out / "notes\x1b[31m.txt").write_text("mine")
    (out / "mine" / "deeper").mkdir(parents=True)
    (out / "renders" / "sketch.png").write_bytes(b"mine")
    (out / "sheets").mkdir()
    (out / "sheets" / "page.png").write_bytes(b"a page")
    found = check_files(out)
    assert found.damaged == {}
    assert found.foreign == ("mine/", "notes\x1b[31m.txt", "renders/sketch.png")
    assert found.unrecorded == ("sheets/page.png",)
    result = run("check", out, "--files")
    assert result.exit_code == 0
    assert "\x1b" not in result.stderr
    assert f"{out}/mine/ is not part of the index" in result.stderr
    assert "0 damaged or missing, 1 without a digest, such as sheets/page.png" in result.stdout


def test_an_index_of_an_earlier_version_has_no_digests(out: Path) -> None:
    content = json.loads((out / "run.json").read_text())
    for name in ("tables", "parts", "sha256"):
        del content[name]
    (out / "run.json").write_text(json.dumps(content))
    for path in (out / "parts").glob("*.json"):
        commit = json.loads(path.read_text())
        del commit["sha256"], commit["format"]
        path.write_text(json.dumps(commit))
    found = check_files(out)
    assert found.damaged == {}
    assert {"run.json", "top.parquet", "units.parquet"} <= set(found.unrecorded)
    assert len(found.unrecorded) == 1 + len(SCHEMAS) + 2
    path = next((out / "parts").glob("*.json"))
    commit = json.loads(path.read_text())
    commit["shards"][0]["images"] -= 1
    path.write_text(json.dumps(commit))
    assert list(check_files(out).damaged) == [path.relative_to(out).as_posix()]


def test_a_part_that_the_index_does_not_have_is_not_part_of_it(out: Path) -> None:
    content = json.loads((out / "run.json").read_text())
    name = content["parts"].pop()
    (out / "run.json").write_text(seal_json(content))
    assert set(check_files(out).foreign) == {f"parts/{name}/", f"parts/{name}.json"}


def test_a_folder_without_an_index_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="holds no index"):
        check_files(tmp_path)
    assert run("check", tmp_path / "none", "--files").exit_code == 2
