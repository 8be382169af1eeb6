"""The search for the edges of fields, against fields that are given instead of a network."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pipeline.layers.margin_search import Edge, Field, search_field

Span = tuple[int, int]
"""First pixel that a position sees, and the one after the last; beyond the input in padding."""


def search(fields: Sequence[Span], length: int) -> tuple[Field, int]:
    """What is found for positions with those fields, and how many margins were tested."""
    starts = np.array([first for first, _ in fields])
    ends = np.array([last for _, last in fields])
    near, far = (Edge(side, length, len(fields)) for side in ("near", "far"))
    blind = (np.minimum(ends, length) <= np.maximum(starts, 0)) | (ends <= 0) | (starts >= length)
    near.exclude(blind)
    far.exclude(blind[::-1])
    tested, searched = 0, search_field(near, far)
    try:
        wanted = next(searched)
        while True:
            for side, margin in wanted:
                assert 0 < margin <= length
                if side == "near":
                    near.learn(margin, np.maximum(starts, 0) >= margin)
                else:
                    far.learn(margin, (length - np.minimum(ends, length) >= margin)[::-1])
            tested += len(wanted)
            wanted = next(searched)
    except StopIteration as stop:
        return stop.value, tested


@settings(deadline=None, max_examples=200)
@given(st.integers(1, 5), st.integers(1, 20), st.integers(0, 10), st.integers(16, 90))
def test_fields_of_a_constant_stride_are_found(stride: int, size: int, padding: int, length: int) -> None:
    positions = (length + 2 * padding - size) // stride + 1
    assume(positions >= 2)
    fields = [(p * stride - padding, p * stride - padding + size) for p in range(positions)]
    inside = [first > 0 and last < length for first, last in fields]
    assume(sum(inside) >= 3 and size > 2 * padding)
    found, tested = search(fields, length)
    assert found == Field(size, stride, -padding)
    assert tested <= 4 * math.log2(length) + 8


@settings(deadline=None, max_examples=100)
@given(st.integers(2, 5), st.integers(2, 6), st.integers(2, 8), st.integers(1, 3))
def test_one_field_contains_those_of_windows(windows: int, each: int, pixels: int, seen: int) -> None:
    """`windows` windows of `each` positions; a position sees its window and `seen - 1` pixels around."""
    length, positions = windows * each * pixels, windows * each
    width, more = each * pixels, seen - 1
    fields = [(p // each * width - more, p // each * width + width + more) for p in range(positions)]
    clipped = [(max(first, 0), min(last, length)) for first, last in fields]
    found, _ = search(fields, length)
    start = min(first - p * pixels for p, (first, _) in enumerate(clipped))
    end = max(last - p * pixels for p, (_, last) in enumerate(clipped))
    whole = start + (positions - 1) * pixels <= 0 and end >= length
    assert found == (Field(length, 0, 0, False) if whole else Field(end - start, pixels, start, False))


def test_what_sees_everything_has_no_stride() -> None:
    assert search([(-3, 40)] * 5, 32)[0] == Field(32, 0, 0)
    assert search([(0, 32)], 32)[0] == Field(32, 0, 0)


def test_pixels_that_no_position_sees_are_no_padding() -> None:
    # 3 of 4 pixels are seen from pixel 2 on; the last pixels of the input are beyond the last position.
    fields = [(2 + 4 * p, 5 + 4 * p) for p in range(7)]
    assert search(fields, 33)[0] == Field(3, 4, 2)


def test_positions_in_the_padding_are_left_out() -> None:
    fields = [(4 * p - 12, 4 * p - 7) for p in range(14)]
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
