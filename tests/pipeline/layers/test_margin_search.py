"""The search for the edges of fields, against fields that are given instead of a network."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pipeline.layers.margin_search import Edge, Field, search_field

Span = range
"""The pixels that a position sees; beyond the input in padding."""


def search(fields: Sequence[Span], length: int) -> tuple[Field, int]:
    """What is found for positions with those fields, and how many margins were tested."""
    seen = [[pixel for pixel in field if 0 <= pixel < length] for field in fields]
    # Of a position that sees only padding, everything is clean.
    first = np.array([min(pixels, default=length) for pixels in seen])
    last = np.array([max(pixels, default=-1) for pixels in seen])
    blind = np.array([not pixels for pixels in seen])
    near, far = (Edge(side, length, len(fields)) for side in ("near", "far"))
    near.exclude(blind)
    far.exclude(blind[::-1])
    tested, searched = 0, search_field(near, far)
    try:
        wanted = next(searched)
        while True:
            for side, margin in wanted:
                assert 0 < margin <= length
                if side == "near":
                    near.learn(margin, first >= margin)
                else:
                    far.learn(margin, (length - 1 - last >= margin)[::-1])
            tested += len(wanted)
            wanted = next(searched)
    except StopIteration as stop:
        return stop.value, tested


@settings(deadline=None, max_examples=200)
@given(st.integers(1, 5), st.integers(1, 20), st.integers(0, 10), st.integers(16, 90))
def test_fields_of_a_constant_stride_are_found(stride: int, size: int, padding: int, length: int) -> None:
    positions = (length + 2 * padding - size) // stride + 1
    assume(positions >= 2)
    assume(size > 2 * padding)
    starts = [p * stride - padding for p in range(positions)]
    assume(sum(start > 0 and start + size < length for start in starts) >= 3)
    found, tested = search([range(start, start + size) for start in starts], length)
    assert found == Field(size, stride, -padding)
    assert tested <= 4 * math.log2(length) + 12


@settings(deadline=None, max_examples=300)
@given(st.integers(1, 5), st.integers(1, 9), st.integers(2, 4), st.integers(0, 12), st.integers(16, 90))
def test_gaps_of_dilated_fields_hide_nothing(
    stride: int, kernel: int, dilation: int, padding: int, length: int
) -> None:
    size = (kernel - 1) * dilation + 1
    positions = (length + 2 * padding - size) // stride + 1
    assume(positions >= 2)
    starts = [p * stride - padding for p in range(positions)]
    # Most of the positions are clear of the padding.
    assume(sum(start > 0 and start + size < length for start in starts) >= 2 * positions // 3 + 2)
    found, _ = search([range(start, start + size, dilation) for start in starts], length)
    assert found == Field(size, stride, -padding)


def test_a_dilated_field_may_first_touch_the_input_behind_its_border() -> None:
    # The first position begins in the padding, and sees pixels 1 and 3 of the input but not its first one.
    fields = [range(2 * p - 1, 2 * p + 4, 2) for p in range(15)]
    assert search(fields, 32)[0] == Field(5, 2, -1)


@settings(deadline=None, max_examples=100)
@given(st.integers(2, 5), st.integers(2, 6), st.integers(2, 8), st.integers(1, 3))
def test_one_field_contains_those_of_windows(windows: int, each: int, pixels: int, seen: int) -> None:
    """`windows` windows of `each` positions; a position sees its window and `seen - 1` pixels around."""
    length, positions = windows * each * pixels, windows * each
    width, more = each * pixels, seen - 1
    windows_of = [p // each * width for p in range(positions)]
    clipped = [range(max(first - more, 0), min(first + width + more, length)) for first in windows_of]
    found, _ = search(clipped, length)
    start = min(field.start - p * pixels for p, field in enumerate(clipped))
    end = max(field.stop - p * pixels for p, field in enumerate(clipped))
    assert found == Field(end - start, pixels, start, False)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        # The last position begins at pixel 4, 8 before where a stride of 4 from pixel 0 on would be.
        ([(0, 16), (4, 12), (4, 12), (4, 16)], Field(24, 4, -8, False)),
        # Moved by the stride, the field that contains them all covers the input at every position.
        ([(0, 16), (4, 12), (4, 12), (0, 16)], Field(16, 0, 0, False)),
        ([(0, 16), (4, 12), (4, 12), (1, 16)], Field(27, 4, -11, False)),
        ([(0, 15), (4, 12), (4, 12), (0, 16)], Field(27, 4, -12, False)),
    ],
)
def test_one_field_contains_uneven_ones(fields: list[tuple[int, int]], expected: Field) -> None:
    assert search([range(*field) for field in fields], 16)[0] == expected


def test_what_sees_everything_has_no_stride() -> None:
    assert search([range(-3, 40)] * 5, 32)[0] == Field(32, 0, 0)
    assert search([range(32)], 32)[0] == Field(32, 0, 0)


def test_pixels_that_no_position_sees_are_no_padding() -> None:
    # 3 of 4 pixels are seen from pixel 2 on; the last pixels of the input are beyond the last position.
    fields = [range(2 + 4 * p, 5 + 4 * p) for p in range(7)]
    assert search(fields, 33)[0] == Field(3, 4, 2)


def test_positions_in_the_padding_are_left_out() -> None:
    fields = [range(4 * p - 12, 4 * p - 7) for p in range(14)]
    assert search(fields, 32)[0] == Field(5, 4, -12)


@pytest.mark.parametrize("guess", [None, 1, 6, 7, 8, 30])
@pytest.mark.parametrize("most", [None, 1, 7, 20])
@pytest.mark.parametrize("edge", [0, 1, 7, 31, 32])
def test_the_edge_of_one_position_is_found_whatever_is_guessed(
    guess: int | None, most: int | None, edge: int
) -> None:
    sought = Edge("near", 32, 1)
    settling, rounds, found = sought.settle(0, guess, most), 0, -1
    try:
        wanted = next(settling)
        while True:
            rounds += 1
            for _, margin in wanted:
                sought.learn(margin, np.array([edge >= margin]))
            wanted = next(settling)
    except StopIteration as stop:
        found = stop.value
    assert found == edge
    assert rounds <= (6 if guess is None and most is None else 11)  # 33 edges are possible
    if guess == edge:
        assert rounds == 1
