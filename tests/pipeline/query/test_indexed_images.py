"""Images of an index read back: decoded, verified, and what becomes of those that cannot be."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.errors import BadImage, MaxactError, QueryError, SourceError, StoreError
from pipeline.images.decode import open_original
from pipeline.progress import Silent
from pipeline.query.index import Index, open_index
from pipeline.query.indexed_images import ShownImages, read_images, sample_image_ids
from pipeline.query.originals import ChangedImage
from pipeline.runs.run import run_index
from tests.fixtures.runs import config
from tests.fixtures.tiny import picture, tiny_network

COUNT = 6


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photographs")
    for number in range(COUNT):
        file = folder / f"data/cat/{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(picture(number))
    run_index(config([folder / "data"], folder / "out"), network=tiny_network())
    return folder


@pytest.fixture
def index(built: Path) -> Iterator[Index]:
    """The index; its photographs are put back when a test has changed them."""
    kept = shutil.copytree(built / "data", built / "kept")
    with open_index(built / "out") as index:
        yield index
    shutil.rmtree(built / "data")
    kept.rename(built / "data")


def photograph(index: Index, number: int) -> Path:
    return index.out.parent / f"data/cat/{number}.png"


def test_images_come_once_each_in_rising_order(index: Index) -> None:
    found = list(read_images(index, [4, 1, 4, 0], len))
    assert found == [(number, len(picture(number))) for number in (0, 1, 4)]
    assert list(read_images(index, [], len)) == []


def test_the_same_images_are_chosen_whenever_they_are_asked_for(index: Index) -> None:
    chosen = sample_image_ids(index, 4)
    assert len(set(chosen)) == 4
    assert sample_image_ids(index, 2) == chosen[:2]
    assert sorted(sample_image_ids(index, 99)) == list(range(COUNT))


def test_an_image_that_is_not_in_the_index_is_refused(index: Index) -> None:
    with pytest.raises(QueryError, match="no image with image_id 99"):
        list(read_images(index, [0, 99], len))


def test_an_image_that_cannot_be_decoded_is_named(index: Index) -> None:
    def picky(data: bytes) -> int:
        if data == picture(2):
            raise BadImage("corrupt", "by another version of the decoder")
        return len(data)

    images = read_images(index, range(COUNT), picky)
    assert [next(images)[0], next(images)[0]] == [0, 1]
    with pytest.raises(StoreError, match=r"image cat/2.png can no longer be decoded .*index again"):
        next(images)


def test_other_bytes_of_the_same_size_are_found_whenever_an_image_is_read(index: Index) -> None:
    content = bytearray(picture(3))
    content[-1] ^= 1
    photograph(index, 3).write_bytes(content)
    said = (
        r"image 'cat/3.png' of shard data/00000: the bytes read back are not those that were indexed; "
        "the dataset has changed since it was indexed"
    )
    with pytest.raises(ChangedImage, match=said):
        list(read_images(index, range(COUNT), len))
    with pytest.raises(ChangedImage, match=said):
        index.image_bytes(3)
    assert [number for number, _ in index.iterate_bytes([0, 1, 2])] == [0, 1, 2]


def test_problems_can_be_collected_and_the_others_still_come(index: Index) -> None:
    photograph(index, 0).write_bytes(bytes(len(picture(0))))
    photograph(index, 2).unlink()
    photograph(index, 5).unlink()
    problems: dict[int, type[MaxactError]] = {}

    def collect(image_id: int, error: MaxactError) -> None:
        problems[image_id] = type(error)

    found = [number for number, _ in read_images(index, range(COUNT), open_original, problem=collect)]
    assert found == [1, 3, 4]
    assert problems.pop(0) is ChangedImage
    assert all(issubclass(kind, SourceError) for kind in problems.values())
    assert sorted(problems) == [2, 5]


def test_a_place_that_was_given_is_not_passed_over(built: Path, tmp_path: Path) -> None:
    data = shutil.copytree(built / "data", tmp_path / "data")
    with open_index(built / "out", data=str(data)) as opened:
        pictures = ShownImages(opened, Silent())
        (data / "cat" / "0.png").unlink()
        with pytest.raises(SourceError):
            list(pictures.read([0], lambda data, preprocess: data))


def test_a_thumbnail_that_cannot_be_decoded_is_named(built: Path, tmp_path: Path) -> None:
    data = shutil.copytree(built / "data", tmp_path / "data")
    run_index(replace(config([data], tmp_path / "out"), keep=("patches",)), network=tiny_network())
    shutil.rmtree(data)

    def refuse(data: bytes, preprocess: object) -> bytes:
        raise BadImage("truncated", "the file ends early")

    with open_index(tmp_path / "out") as opened:
        assert len(list(ShownImages(opened, Silent()).read([0, 1], lambda data, preprocess: data))) == 2
        with pytest.raises(StoreError, match=r"the thumbnail of image 0 in .* cannot be decoded"):
            list(ShownImages(opened, Silent()).read([0], refuse))
