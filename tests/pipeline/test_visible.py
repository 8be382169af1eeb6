r"""Invisible characters: escaped for people, escaped for JSON without changing the value, or marked."""

from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.visible import escape_for_json, is_invisible, mark_invisible, visible

ANY = st.text(st.characters(exclude_categories=()))
BIDI = [*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F, 0x061C]
CONTROLS = [*range(0x20), *range(0x7F, 0xA0)]
ZERO_WIDTH = [0x200B, 0x200C, 0x200D, 0x2060, 0xFEFF, 0x00AD]


@pytest.mark.parametrize("code", [*BIDI, *CONTROLS, *ZERO_WIDTH, 0xD800, 0xDFFF, 0x2028, 0x2029, 0xE0041])
def test_each_of_them_is_escaped(code: int) -> None:
    shown = visible(f"a{chr(code)}b")
    assert shown.isascii()
    assert shown.isprintable()
    assert shown.startswith("a\\")
    assert mark_invisible(f"a{chr(code)}b", "?") == "a?b"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred", r"\x1b[31mred"),
        ("abc\u202edef", r"abc\u202edef"),
        ("two\nlines\tand\r", r"two\nlines\tand\r"),
        ("\U000e0001", r"\U000e0001"),
        ("\x9b", r"\x9b"),
        ("Größe 漢字 שלום 😀 C:\\x", "Größe 漢字 שלום 😀 C:\\x"),
        ("ideographic\u3000space\u00a0too", "ideographic\u3000space\u00a0too"),
    ],
)
def test_what_is_shown(text: str, shown: str) -> None:
    assert visible(text) == shown


@given(ANY)
def test_nothing_invisible_is_left_and_nothing_else_is_changed(text: str) -> None:
    shown = visible(text)
    assert not any(unicodedata.category(letter) in {"Cc", "Cf", "Cs", "Zl", "Zp"} for letter in shown)
    assert visible(shown) == shown
    kept = "".join(letter for letter in text if not is_invisible(letter))
    assert mark_invisible(text, "") == kept
    if kept == text:
        assert shown == text


@pytest.mark.slow
@given(st.recursive(ANY, lambda inner: st.lists(inner) | st.dictionaries(ANY, inner)))
def test_json_keeps_its_value(value: object) -> None:
    encoded = escape_for_json(json.dumps(value, ensure_ascii=False))
    assert not any(map(is_invisible, encoded))
    assert json.loads(encoded) == value


def test_pairs_of_surrogates_are_one_letter_in_json() -> None:
    assert escape_for_json('"\U000e0001"') == r'"\udb40\udc01"'
