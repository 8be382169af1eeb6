"""Patches of top images, written as files."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipeline.errors import SourceError, StoreError
from pipeline.images.preprocess import Box
from pipeline.query.index import Index, open_index
from pipeline.query.saved_patches import pixels_of, save_patches
from tests.fixtures.commands import done, refused, run
from tests.fixtures.small_index import build_index

EDGE = st.floats(-50, 350, allow_nan=False)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_index(tmp_path_factory.mktemp("small"))


@pytest.fixture
def index(out: Path) -> Iterator[Index]:
    with open_index(out) as opened:
        yield opened


def test_a_patch_is_the_box_of_the_original(index: Index, out: Path, tmp_path: Path) -> None:
    images = index.top("stem", 3, n=5)
    files = save_patches(index, images, tmp_path / "new" / "patches")
    assert [file.name for file in files] == [f"stem-00003-high-{rank:03}.png" for rank in range(1, 6)]
    for image, file in zip(images, files, strict=True):
        with Image.open(out.parent / "photographs" / image.key) as original, Image.open(file) as patch:
            wanted = original.convert("RGB").crop(pixels_of(image.box, *original.size))
            assert patch.size == wanted.size
            assert patch.tobytes() == wanted.tobytes()
            left, top, right, bottom = image.box
            assert right - left <= patch.width <= right - left + 2
            assert bottom - top <= patch.height <= bottom - top + 2


@given(EDGE, EDGE, EDGE, EDGE, st.integers(1, 300), st.integers(1, 300))
def test_pixels_are_inside_and_never_none(
    x: float, y: float, width: float, height: float, wide: int, high: int
) -> None:
    left, top, right, bottom = pixels_of(Box(x, y, x + abs(width), y + abs(height)), wide, high)
    assert 0 <= left < right <= wide
    assert 0 <= top < bottom <= high
    if x >= 0 and x + abs(width) <= wide:
        assert left <= x
        assert x + abs(width) <= right


def test_from_the_command_line(out: Path, tmp_path: Path) -> None:
    result = done("top", out, "head", "rings", "-n", 4, "--low", "--save", tmp_path / "a")
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == [
        f"head-00003-low-{rank:03}.png" for rank in range(1, 5)
    ]
    assert f"4 patches in {tmp_path / 'a'}" in result.stderr
    assert "activation" in result.stdout
    found = done("top", out, "stem", 0, "--without-label", "disc", "-n", 3, "--save", tmp_path / "b", "--csv")
    assert len(list((tmp_path / "b").iterdir())) == 3
    assert ",disc," not in found.stdout


def test_wrong_calls(out: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    said = refused(run("top", out, "stem", 0, "--save", tmp_path / "file"), code=2)
    assert "is a file; give a folder" in said
    assert (tmp_path / "file").read_text() == "mine"
    assert "--data is used by --save only" in refused(run("top", out, "stem", 0, "--data", tmp_path), code=2)


def test_a_dataset_that_is_gone_or_has_moved(out: Path, tmp_path: Path) -> None:
    moved = shutil.copytree(out.parent, tmp_path / "moved")
    shutil.rmtree(moved / "photographs", ignore_errors=True)
    copy = build_index(tmp_path, data=shutil.copytree(out.parent / "photographs", tmp_path / "data"))
    (tmp_path / "data").rename(tmp_path / "elsewhere")
    with open_index(copy) as index, pytest.raises(SourceError, match="--data"):
        save_patches(index, index.top("stem", 0, n=2), tmp_path / "patches")
    done("top", copy, "stem", 0, "-n", 2, "--save", tmp_path / "c", "--data", tmp_path / "elsewhere")
    assert len(list((tmp_path / "c").iterdir())) == 2


def test_an_image_that_can_no_longer_be_decoded(index: Index, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(
        "pipeline.query.index.Index.iterate_bytes", lambda self, ids: ((i, b"x") for i in ids)
    )
    with pytest.raises(StoreError, match="can no longer be decoded"):
        save_patches(index, index.top("stem", 0, n=1), tmp_path / "patches")
    assert list((tmp_path / "patches").iterdir()) == []
