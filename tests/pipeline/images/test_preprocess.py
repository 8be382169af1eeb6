"""Sizes, crops and the way back to the photograph."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import UsageError
from pipeline.images.preprocess import Box, Fit, Preprocess

SIDES = st.integers(1, 3000)
INPUTS = st.builds(
    lambda height, width, extra, fit: Preprocess(height, width, max(height, width) + extra, fit=fit),
    st.integers(1, 300),
    st.integers(1, 300),
    st.integers(0, 60),
    st.sampled_from(get_args(Fit)),
)


@given(INPUTS, SIDES, SIDES)
def test_the_crop_lies_inside_the_resized_image(preprocess: Preprocess, width: int, height: int) -> None:
    resized_width, resized_height = preprocess.resized(width, height)
    left, top = preprocess.crop_offset(width, height)
    assert 0 <= left <= resized_width - preprocess.width
    assert 0 <= top <= resized_height - preprocess.height
    if preprocess.fit == "squash":
        assert (left, top) == (0, 0)
    elif preprocess.fit == "squash_crop":
        assert resized_width == resized_height == preprocess.resize
    else:
        assert min(resized_width, resized_height) == preprocess.resize
    for rest, offset in ((resized_width - preprocess.width, left), (resized_height - preprocess.height, top)):
        assert offset == rest // 2 or (preprocess.fit == "crop" and rest % 4 == 3 and offset == rest // 2 + 1)


@given(INPUTS, SIDES, SIDES)
def test_the_whole_input_comes_from_the_middle_of_the_photograph(
    preprocess: Preprocess, width: int, height: int
) -> None:
    box = preprocess.to_original(Box(0, 0, preprocess.width, preprocess.height), width, height)
    assert -1e-6 <= box.left < box.right <= width + 1e-6
    assert -1e-6 <= box.top < box.bottom <= height + 1e-6
    resized_width, resized_height = preprocess.resized(width, height)
    assert abs(box.left + box.right - width) <= 1.01 * width / resized_width
    assert abs(box.top + box.bottom - height) <= 1.01 * height / resized_height


def test_a_box_goes_back_through_crop_and_resize() -> None:
    preprocess = Preprocess(224, 224, 256)
    assert preprocess.resized(512, 1024) == (256, 512)
    assert preprocess.crop_offset(512, 1024) == (16, 144)
    box = preprocess.to_original(Box(-50, 0, 10, 20), 512, 1024)
    assert box == Box(32, 288, 52, 328)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"height": 0}, "at least 1x1, got 0x224"),
        ({"resize": 200}, "a resize of at least 224"),
        ({"mean": (1.0,)}, "differ in length"),
        ({"std": (1.0, 0.0, 1.0)}, "must be positive"),
    ],
)
def test_what_makes_no_sense(options: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Preprocess(**options)  # type: ignore[arg-type]
