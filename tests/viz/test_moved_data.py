"""An index whose dataset has moved is drawn, checked and rendered with `--data`."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pipeline.errors import SourceError
from pipeline.query.index import open_index
from tests.fixtures.commands import refused, run
from tests.fixtures.small_index import build_index
from tests.fixtures.tiny import write_tars

pytestmark = pytest.mark.slow

OPTIONS = ("--network", "tests.fixtures.tiny:factory", "--layers", "first", "--compile", "off", "--top", "3")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """An index of two folders of tars that are now at `there`."""
    folders = [tmp_path / "here" / name for name in ("one", "two")]
    for seed, folder in enumerate(folders):
        write_tars(folder, [3, 2], seed=10 * seed)
    assert run("index", *folders, "-o", tmp_path / "out", *OPTIONS).exit_code == 0
    shutil.move(tmp_path / "here", tmp_path / "there")
    return tmp_path / "out"


@pytest.mark.parametrize(
    "words",
    [
        ("sheets", "--layer", "first", "--units", "0-1"),
        ("project", "--layer", "first", "--units", "0", "--method", "gradient"),
        ("render", "--layer", "first", "--units", "0", "--recipe", "typical", "--steps", "2"),
        ("check",),
    ],
    ids=lambda words: words[0],
)
def test_every_command_that_reads_images_takes_the_new_place(out: Path, words: tuple[str, ...]) -> None:
    there = out.parent / "there"
    command = (words[0], out, *words[1:])
    line = refused(run(*command))
    assert "does not exist" in line
    assert "if the dataset has moved" in line
    for given in ((there,), (there / "one", there / "two")):
        result = run(*command, *(word for path in given for word in ("--data", path)))
        assert result.exit_code == 0, result.output
        shutil.rmtree(out / "renders", ignore_errors=True)
        (out / "renders.parquet").unlink(missing_ok=True)


def test_a_shard_that_is_not_there_is_named(out: Path) -> None:
    there = out.parent / "there"
    (there / "two" / "tiny-001.tar").unlink()
    line = refused(run("sheets", out, "--data", there))
    assert f"--data {there} has no shard two/tiny-001.tar (1 of 4" in line
    assert str(out.parent / "here" / "one") in line


def test_other_contents_are_noticed(out: Path) -> None:
    there = out.parent / "there"
    write_tars(there / "two", [3, 2], seed=77)
    assert "the bytes read back are not those that were indexed" in refused(
        run("sheets", out, "--data", there)
    )


def test_a_wrong_number_of_places_exits_with_two(out: Path) -> None:
    there = out.parent / "there"
    words = [word for name in ("one", "two", "one") for word in ("--data", there / name)]
    assert "3 given, but 2 were indexed" in refused(run("sheets", out, *words), 2)


def test_a_folder_with_other_files_lacks_images_by_name(tmp_path: Path) -> None:
    out = build_index(tmp_path)
    shutil.move(tmp_path / "photographs", tmp_path / "moved")
    with open_index(out, data=tmp_path / "moved") as index:
        (first, data), *_ = index.iterate_bytes(row[0] for row in index.sql("FROM images").rows)
        assert index.image_bytes(first) == data
    (tmp_path / "moved" / "bars" / "bars-00.jpg").unlink()
    with open_index(out, data=[tmp_path / "moved"]) as index, pytest.raises(SourceError, match="bars-00"):
        index.image_bytes(first)
