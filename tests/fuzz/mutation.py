"""Mutations of valid input: flipped, cut, inserted, repeated and exchanged bytes or characters."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from hypothesis import strategies as st

__all__ = ["mutated", "odd_json", "random_mutant"]

Text = TypeVar("Text", bytes, str)

NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 0x7FFFFFFFFFFFFFFF, 2**64 - 1)
"""Numbers at the limits of their types, which replace bytes in either order."""

MAX_STEPS = 6
MAX_CHUNK = 600

Pick = Callable[[int, int], int]
"""Gives a number from the first to the second, both included."""


def mutated(seeds: Sequence[Text]) -> st.SearchStrategy[Text]:
    """A strategy of mutants of one of several valid inputs, for Hypothesis."""

    @st.composite
    def draw_mutant(draw: st.DrawFn) -> Text:
        return _mutant(seeds, lambda low, high: draw(st.integers(low, high)))

    return draw_mutant()


def random_mutant(seeds: Sequence[Text], generator: random.Random) -> Text:
    """One mutant, for long runs."""
    return _mutant(seeds, generator.randint)


def _mutant(seeds: Sequence[Text], pick: Pick) -> Text:
    data = seeds[pick(0, len(seeds) - 1)]
    for _ in range(pick(1, MAX_STEPS)):
        data = STEPS[pick(0, len(STEPS) - 1)](data, seeds, pick)
    return data


def odd_json(content: Any) -> st.SearchStrategy[Any]:
    """A strategy of JSON values of which one or two nodes are replaced by something else, or missing."""

    @st.composite
    def draw_value(draw: st.DrawFn) -> Any:
        value = content
        for _ in range(draw(st.integers(1, 2))):
            value = _replaced(value, draw)
        return value

    return draw_value()


ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**65), 2**65),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from([[], {}, [[]], "\ud800", "../x", "\x1b[2J", "1e999", "'; DROP TABLE x; --", "a" * 5000]),
)


def _replaced(value: Any, draw: st.DrawFn) -> Any:
    """The value with one node exchanged; each level is entered with equal probability."""
    if not isinstance(value, dict | list) or not value or draw(st.integers(0, 3)) == 0:
        return draw(ODD)
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    chosen = draw(st.sampled_from(keys))
    copy = value.copy()
    if draw(st.integers(0, 5)) == 0:
        del copy[chosen]
    else:
        copy[chosen] = _replaced(value[chosen], draw)
    return copy


def _place(data: Text, pick: Pick) -> tuple[int, int]:
    """A chunk of the data, often at its start or its end, where headers and footers are."""
    start = pick(0, len(data))
    near = pick(0, 3)
    if near == 0:
        start = min(start, pick(0, 64))
    elif near == 1:
        start = max(0, len(data) - pick(0, 300))
    return start, min(len(data), start + pick(0, MAX_CHUNK))


def _unit(data: Text, number: int) -> Text:
    """One byte or character."""
    return bytes([number & 0xFF]) if isinstance(data, bytes) else chr(number)  # type: ignore[return-value]


def _flip(data: Text, _: Sequence[Text], pick: Pick) -> Text:
    if not data:
        return data
    at = min(_place(data, pick)[0], len(data) - 1)
    old = data[at] if isinstance(data, bytes) else ord(data[at])
    return data[:at] + _unit(data, old ^ (1 << pick(0, 7))) + data[at + 1 :]


def _overwrite(data: Text, _: Sequence[Text], pick: Pick) -> Text:
    start, _end = _place(data, pick)
    if isinstance(data, str):
        return data[:start] + str(NUMBERS[pick(0, len(NUMBERS) - 1)]) + data[start + 1 :]
    size = (1, 2, 4, 8)[pick(0, 3)]
    number = NUMBERS[pick(0, len(NUMBERS) - 1)] & (256**size - 1)
    return data[:start] + number.to_bytes(size, ("big", "little")[pick(0, 1)]) + data[start + size :]


def _cut(data: Text, _: Sequence[Text], pick: Pick) -> Text:
    return data[: pick(0, len(data))]


def _remove(data: Text, _: Sequence[Text], pick: Pick) -> Text:
    start, end = _place(data, pick)
    return data[:start] + data[end:]


def _insert(data: Text, _: Sequence[Text], pick: Pick) -> Text:
    start, _end = _place(data, pick)
    length = pick(1, 12)
    high = 255 if isinstance(data, bytes) else 0x2FF
    new = data[:0].join(_unit(data, pick(0, high)) for _ in range(length))
    if isinstance(data, str) and pick(0, 3) == 0:
        new = _unit(data, (0xD800, 0x10FFFF, 0x202E, 0)[pick(0, 3)])
    return data[:start] + new + data[start:]


def _repeat(data: Text, _: Sequence[Text], pick: Pick) -> Text:
    start, end = _place(data, pick)
    return data[:end] + data[start:end] * pick(1, 5) + data[end:]


def _exchange(data: Text, seeds: Sequence[Text], pick: Pick) -> Text:
    other = seeds[pick(0, len(seeds) - 1)]
    start, end = _place(other, pick)
    at, _end = _place(data, pick)
    return data[:at] + other[start:end] + data[at + end - start :]


def _clear(data: Text, _: Sequence[Text], pick: Pick) -> Text:
    start, end = _place(data, pick)
    return data[:start] + _unit(data, (0, 0xFF)[pick(0, 1)]) * (end - start) + data[end:]


STEPS = (_flip, _flip, _overwrite, _cut, _remove, _insert, _repeat, _exchange, _clear)
