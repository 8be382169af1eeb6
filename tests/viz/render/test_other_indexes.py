"""What was made from one index is never shown for another in the same folder."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from pipeline.query.index import open_index
from pipeline.store.derived import FINGERPRINT_NOTE, derived_files
from pipeline.store.schemas import RENDERS
from pipeline.store.tables import write_table
from tests.fixtures.commands import done, run
from tests.fixtures.tiny import PREPROCESS, tiny_network, write_tars
from viz.priors.prior import priors_of
from viz.render.table import load_renders
from viz.tensor_files import load_tensors, save_tensors

pytestmark = pytest.mark.slow

RENDER = ("--layer", "first", "--units", "0-1", "--recipe", "fourier", "--steps", "2")
PRIOR = ("--layer", "first", "--size", "16", "--steps", "2", "--batch", "2")


def other() -> tuple[Any, Any]:
    """Factory for `--network tests.viz.render.test_other_indexes:other`: the same layers, other weights."""
    return tiny_network(seed=1).module, PREPROCESS


def index(out: Path, network: str, *more: str) -> Any:
    options = ("--layers", "first", "--layers", "head", "--compile", "off", "--top", "3", *more)
    return done("index", out.parent / "data", "-o", out, "--network", network, *options)


A, B = "tests.fixtures.tiny:factory", "tests.viz.render.test_other_indexes:other"


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of network A with everything that is made from one."""
    folder = tmp_path_factory.mktemp("drawn")
    write_tars(folder / "data", [5, 4])
    out = folder / "out"
    index(out, A)
    done("render", out, *RENDER)
    done("sheets", out, "--layer", "first", "--units", "0-1", "--pdf")
    done("project", out, "--layer", "first", "--units", "0", "--method", "gradient")
    done("prior", "train", out, *PRIOR)
    done("robust", "train", out, "--size", "32", "--steps", "1", "--batch", "2")
    return folder


@pytest.fixture
def out(drawn: Path, tmp_path: Path) -> Path:
    shutil.copytree(drawn, tmp_path, dirs_exist_ok=True)
    return tmp_path / "out"


def made(out: Path) -> list[str]:
    """Everything in OUT that was made from an index."""
    folders = ("renders", "sheets", "projections", "prior", "robust")
    files = [path for name in folders for path in (out / name).rglob("*") if path.is_file()]
    return sorted(path.relative_to(out).as_posix() for path in files)


def cells(out: Path) -> bytes:
    """The pixels of a sheet that has just been drawn."""
    result = done("sheets", out, "--layer", "first", "--units", "0-1")
    (file,) = result.stdout.splitlines()
    with Image.open(file) as page:
        return page.convert("RGB").tobytes()


def test_everything_says_from_which_index_it_was_made(out: Path) -> None:
    with open_index(out) as index:
        fingerprint = index.run["fingerprint"]
    assert {row.index_fingerprint for row in load_renders(out)} == {fingerprint}
    found = list(derived_files(out))
    folders = {each.path.relative_to(out).parts[0] for each in found}
    assert folders == {"sheets", "projections", "prior", "robust"}
    assert sorted(each.path.suffix for each in found) == [".pdf", ".png", ".png", ".pt", ".pt"]
    assert {each.fingerprint for each in found} == {fingerprint}


def test_fresh_removes_what_was_made_from_the_other_index(out: Path, tmp_path: Path) -> None:
    assert len(made(out)) == 7
    users = ["renders/first/mine.png", "sheets/plan-a-0000-0001.png", "sheets/plan.pdf", "prior/mine.pt"]
    for name in users:
        Image.new("RGB", (4, 4)).save(out / name) if name.endswith("png") else (out / name).write_text("mine")
    index(out, B, "--fresh")
    assert made(out) == sorted(users)
    assert not (out / "renders.parquet").exists()
    clean = tmp_path / "clean" / "out"
    shutil.copytree(out.parent / "data", clean.parent / "data")
    index(clean, B)
    assert cells(out) == cells(clean)


def test_fresh_keeps_what_was_made_from_the_same_index(out: Path) -> None:
    before, sheet = made(out), cells(out)
    index(out, A, "--fresh")
    assert made(out) == before[:3] + [name for name in made(out) if name not in before] + before[3:]
    assert len(load_renders(out)) == 2
    assert cells(out) == sheet


def replace_index(out: Path) -> None:
    """Index with network B, and leave what was made from A, as an older version did."""
    for name in ("top", "units", "images"):
        (out / f"{name}.parquet").unlink()
    (out / "run.json").unlink()
    shutil.rmtree(out / "parts")
    for path in out.glob("*.parquet"):
        if path.stem != "renders":
            path.unlink()
    index(out, B)


def test_readers_do_not_show_what_was_made_from_another_index(out: Path) -> None:
    replace_index(out)
    shown = done("sheets", out, "--layer", "first", "--units", "0-1")
    assert (
        f"2 renderings in {out} belong to another index or an older maxact and are not shown" in shown.stderr
    )
    assert f"remove them with `maxact clean {out}`" in shown.stderr
    assert "first-real-0000-0001.png" in shown.stdout
    with open_index(out) as index:
        assert index.sql("FROM renders").rows == []
        own, others = priors_of(index)
        assert (own, [path.name for path in others]) == ([], ["first.pt"])
    result = run("render", out, "--layer", "first", "--units", "0", "--recipe", "prior", "--steps", "1")
    assert result.exit_code == 2
    assert "has none of this index (and first.pt of another)" in result.stderr
    done("render", out, *RENDER)
    assert "not shown" not in done("sheets", out, "--layer", "first").stderr


def test_clean_removes_it(out: Path) -> None:
    replace_index(out)
    (out / "sheets" / "notes.txt").write_text("mine")
    assert "removed" in done("clean", out).stdout
    assert made(out) == ["sheets/notes.txt"]
    assert "not shown" not in done("sheets", out, "--layer", "first").stderr
    assert done("clean", out).stdout == f"{out}: 0 files of other indexes removed\n"


def test_renderings_of_an_older_version_are_taken_over_if_they_are_of_this_index(out: Path) -> None:
    old = pa.schema([field for field in RENDERS if field.name != "index_fingerprint"])
    table = pq.read_table(out / "renders.parquet").select(old.names)
    write_table(out / "renders.parquet", old, [table])
    with open_index(out) as index:
        assert index.sql("FROM renders").rows == []
    assert "2 renderings" in done("sheets", out, "--layer", "first").stderr
    pictures = {path: path.stat().st_mtime_ns for path in (out / "renders").rglob("*.png")}
    assert "2 of 2 already there" in done("render", out, *RENDER).stderr
    assert {path: path.stat().st_mtime_ns for path in pictures} == pictures
    with open_index(out) as index:
        assert len(index.sql("FROM renders").rows) == 2


def test_renderings_are_compared_with_what_their_own_dataset_reached(out: Path) -> None:
    write_tars(out.parent / "more", [6], seed=40)
    shutil.move(out.parent / "more" / "tiny-000.tar", out.parent / "data" / "more.tar")
    before = {row.unit: row.best_real for row in load_renders(out)}
    for path in out.glob("*.parquet"):
        if path.stem != "renders":
            path.unlink()
    (out / "run.json").unlink()
    shutil.rmtree(out / "parts")
    index(out, A)
    with open_index(out) as opened:
        reached = dict(opened.sql("SELECT unit, max FROM units WHERE layer = 'first'").rows)
    assert any(before[unit] != reached[unit] for unit in before), "the data must differ"
    done("render", out, *RENDER)
    assert {row.unit: row.best_real for row in load_renders(out)} == {unit: reached[unit] for unit in before}


def test_a_finished_prior_of_an_older_version_gets_the_fingerprint(out: Path) -> None:
    path = out / "prior" / "first.pt"
    content = load_tensors(path, torch.device("cpu"))
    fingerprint = content.pop(FINGERPRINT_NOTE)
    save_tensors(path, content)
    with open_index(out) as index:
        assert priors_of(index) == ([path], [])
    done("prior", "train", out, *PRIOR)
    assert load_tensors(path, torch.device("cpu"))[FINGERPRINT_NOTE] == fingerprint


@pytest.mark.parametrize("damage", ["cut", "version"])
def test_fresh_replaces_a_table_of_renderings_that_cannot_be_read(out: Path, damage: str) -> None:
    path = out / "renders.parquet"
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:1000])
    else:
        table = pq.read_table(path)
        pq.write_table(table.replace_schema_metadata({"maxact.schema_version": "0"}), path)
    index(out, A, "--fresh")
    assert not path.exists()
    assert not list((out / "renders").rglob("*.png"))
