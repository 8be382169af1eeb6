"""Sizes, crops and the way back to the photograph."""

from __future__ import annotations

from dataclasses import asdict
from typing import get_args

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import UsageError
from pipeline.images.preprocess import Box, Fit, Interpolation, Placement, Preprocess

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


@pytest.mark.parametrize("interpolation", get_args(Interpolation))
@pytest.mark.parametrize("fit", get_args(Fit))
def test_the_placement_is_the_same_in_sql(fit: Fit, interpolation: Interpolation) -> None:
    sides = (1, 7, 63, 64, 65, 73, 100, 999)
    sizes = [(width, height) for width in sides for height in sides]
    for height, width, resize in ((64, 64, 64), (32, 48, 73), (64, 63, 65)):
        preprocess = Preprocess(height, width, resize, interpolation, fit=fit)
        expressions = preprocess.placement_sql()
        table = pa.table({"width": [w for w, _ in sizes], "height": [h for _, h in sizes]})
        with duckdb.connect() as connection:
            connection.register("sizes", table)
            found = connection.sql(f"SELECT {', '.join(expressions.values())} FROM sizes").fetchall()
        for size, row in zip(sizes, found, strict=True):
            placed = preprocess.placement(*size)
            assert dict(zip(expressions, row, strict=True)) == asdict(placed), size
            assert list(expressions) == list(asdict(placed))


def test_the_filter_reaches_further_where_the_image_shrinks() -> None:
    # 512 x 1,024 shrinks to a half: one pixel of the resized image takes in 2, the filter 2 on either side.
    assert Preprocess(224, 224, 256).placement(512, 1024) == Placement(16, 144, 2.0, 2.0, 2.0, 2.0)
    bicubic = Preprocess(224, 224, 256, "bicubic")
    assert bicubic.placement(512, 1024).reach_x == 4.0
    # Enlarged, the filter is as wide as its support in pixels of the original; as large, nothing is resized.
    assert (bicubic.placement(128, 128).scale_x, bicubic.placement(128, 128).reach_x) == (0.5, 2.0)
    assert bicubic.placement(256, 256).reach_y == 0.0
    seen = Preprocess(224, 224, 256).seen_in_original(Box(-9, -9, 10, 999), 512, 1024)
    assert seen == Box(30, 286, 54, 738)
    assert Preprocess(224, 224, 224).seen_in_original(Box(-9, -9, 999, 999), 448, 448) == Box(0, 0, 448, 448)
