"""The same picture is known again after re-encoding; different photographs are told apart."""

from __future__ import annotations

import io
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageEnhance

from pipeline.data.content import byte_digest
from pipeline.images.decode import decode
from pipeline.images.hashes import NEAR_BITS, perceptual_hash, perceptual_hashes
from pipeline.images.preprocess import Preprocess
from pipeline.runs.duplicates import follow_roots
from pipeline.runs.run import run_index
from tests.fixtures.runs import config, rows
from tests.fixtures.tiny import tiny_network

pytestmark = pytest.mark.slow

PREPROCESS = Preprocess(224, 224, 256)
PHOTOGRAPHS = ("astronaut", "camera", "chelsea", "coffee", "rocket", "brick", "grass", "gravel")


def photograph(name: str) -> Image.Image:
    data = pytest.importorskip("skimage.data")
    return Image.fromarray(getattr(data, name)()).convert("RGB")


def encoded(image: Image.Image, kind: str = "JPEG", **options: int) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def hash_of(data: bytes) -> int | None:
    return perceptual_hash(decode(data, PREPROCESS))


def distance(first: int | None, second: int | None) -> int:
    assert first is not None
    assert second is not None
    return ((first ^ second) & ((1 << 64) - 1)).bit_count()


def variants(image: Image.Image) -> dict[str, bytes]:
    half = image.resize((image.width // 2, image.height // 2), Image.Resampling.LANCZOS)
    return {
        "quality 90": encoded(image, quality=90),
        "quality 75": encoded(image, quality=75),
        "quality 40": encoded(image, quality=40),
        "progressive": encoded(image, quality=80, progressive=True),
        "webp": encoded(image, "WEBP", quality=80),
        "half the size": encoded(half, quality=90),
        "brighter": encoded(ImageEnhance.Brightness(image).enhance(1.05), quality=90),
    }


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_a_photograph_encoded_again_is_nearly_the_same(name: str) -> None:
    image = photograph(name)
    original = hash_of(encoded(image, "PNG"))
    for variant, data in variants(image).items():
        assert distance(original, hash_of(data)) <= NEAR_BITS, variant


def test_different_photographs_are_far_apart() -> None:
    hashes = [hash_of(encoded(photograph(name), "PNG")) for name in PHOTOGRAPHS]
    assert min(distance(*pair) for pair in combinations(hashes, 2)) >= 10


def test_a_mirrored_or_turned_photograph_is_another() -> None:
    image = photograph("chelsea")
    original = hash_of(encoded(image, "PNG"))
    for turn in (Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.ROTATE_180):
        assert distance(original, hash_of(encoded(image.transpose(turn), "PNG"))) > 10


@pytest.mark.parametrize("level", [0, 127, 255])
def test_a_flat_picture_has_no_hash(level: int) -> None:
    noise = torch.randint(-3, 4, (3, 64, 64), generator=torch.Generator().manual_seed(0))
    flat = (torch.full((3, 64, 64), level) + noise).clamp(0, 255).to(torch.uint8)
    assert perceptual_hash(flat) is None


def test_one_channel_is_hashed_as_three_equal_ones() -> None:
    grey = torch.randint(0, 256, (1, 50, 70), generator=torch.Generator().manual_seed(1)).byte()
    coarse = grey[:, ::10, ::10].repeat_interleave(10, 1).repeat_interleave(10, 2)
    assert perceptual_hash(coarse) == perceptual_hash(coarse.expand(3, -1, -1))
    assert perceptual_hash(coarse) is not None


def test_hashes_and_digests_fit_a_signed_column() -> None:
    numbers = [byte_digest(bytes([n])) for n in range(64)]
    assert len(set(numbers)) == 64
    assert all(-(1 << 63) <= number < 1 << 63 for number in numbers)
    assert any(number < 0 for number in numbers)


@given(st.dictionaries(st.integers(1, 60), st.integers(0, 59), max_size=40))
def test_roots_are_where_a_walk_to_earlier_images_ends(links: dict[int, int]) -> None:
    links = {node: earlier for node, earlier in sorted(links.items()) if earlier < node}
    nodes = np.array(list(links), np.int64)
    found = follow_roots(nodes, np.array(list(links.values()), np.int64))
    for node, root in zip(links, found.tolist(), strict=True):
        at = node
        while at in links:
            at = links[at]
        assert root == at


def test_an_index_marks_each_copy_with_the_first_of_its_kind(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    wanted: dict[str, str | None] = {}
    for number, name in enumerate(PHOTOGRAPHS[:4]):
        image = photograph(name)
        original = encoded(image, quality=95)
        files = {"0-original": original, **variants(image), "z-copy": original}
        for variant, data in files.items():
            key = f"{number}-{variant}.jpg"
            (folder / key).write_bytes(data)
            wanted[key] = None if variant == "0-original" else f"{number}-0-original.jpg"
    for number in range(3):
        key = f"9-flat-{number}.png"
        (folder / key).write_bytes(encoded(Image.new("RGB", (40, 40), (number, 9, 9)), "PNG"))
        wanted[key] = None
    (folder / "9-flat-copy.png").write_bytes((folder / "9-flat-1.png").read_bytes())
    wanted["9-flat-copy.png"] = "9-flat-1.png"
    network = replace(tiny_network(), preprocess=Preprocess(64, 64, 64))
    run_index(config([folder], tmp_path / "out"), network=network)
    images = {row["image_id"]: row for row in rows(tmp_path / "out", "images")}
    marked = {
        row["key"]: None if row["duplicate_of"] is None else images[row["duplicate_of"]]["key"]
        for row in images.values()
    }
    assert marked == wanted


def test_a_block_without_any_picture_has_no_hashes() -> None:
    """All eight images of a block may be bad."""
    assert perceptual_hashes([]) == []
