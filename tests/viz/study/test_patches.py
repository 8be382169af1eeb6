"""Patches: cut to one size, where the target looks, and encoded."""

from __future__ import annotations

import base64
import io

import pytest
import torch
from PIL import Image

from pipeline.images.preprocess import Box
from viz.study.patches import _looked_at, cut
from viz.study.pictures import Pictures, encode_picture


@pytest.mark.parametrize("top", [-9, -0.4, 5, 12.6, 40])
def test_a_patch_keeps_its_size_at_a_border(top: float) -> None:
    picture = torch.arange(20 * 20).view(1, 20, 20)
    patch = cut(picture, Box(top, 3, top + 7, 10))
    assert patch.shape == (1, 7, 7)
    assert patch[0, 0, 0] == 20 * 3 + min(max(round(top), 0), 13)


def test_a_box_as_large_as_the_picture_is_the_picture() -> None:
    picture = torch.arange(3 * 6 * 8).view(3, 6, 8)
    assert torch.equal(cut(picture, Box(-4, -4, 30, 30)), picture)
    assert cut(picture, Box(1, -4, 4, 30)).shape == (3, 6, 3)


def test_a_rendering_is_cut_where_its_target_looks() -> None:
    cut_at_a_border = _looked_at((78, 162), (0, 224), (8, 232), 1.0)
    assert cut_at_a_border == (86, 170)
    assert _looked_at((100, 124), (79, 146), (0, 134), 2.0) == (42, 90)
    own_field = _looked_at((78, 162), (0, 224), (30, 112), 1.0)
    assert own_field == (30, 112)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_patch_is_encoded_in_its_colours(channels: int) -> None:
    patch = torch.full((channels, 9, 12), 200, dtype=torch.uint8)
    picture = Image.open(io.BytesIO(encode_picture(patch)))
    assert (picture.format, picture.mode, picture.size) == ("WEBP", "RGB", (12, 9))
    assert all(abs(value - 200) <= 2 for value in picture.getpixel((6, 4)))


def test_equal_pictures_are_kept_once() -> None:
    pictures = Pictures()
    patches = [torch.full((3, 8, 8), value, dtype=torch.uint8) for value in (9, 200, 9)]
    assert [pictures.add(patch) for patch in patches] == [0, 1, 0]
    assert len(pictures.uris) == 2
    assert base64.b64decode(pictures.uris[1].partition(",")[2]) == encode_picture(patches[1])
