r"""Text from strangers, made safe to show: control characters and invisible ones are written as escapes.

Keys, labels, layer names and error messages come from datasets, networks and indexes. On a terminal,
an escape sequence in them could move the cursor or hide lines, and a bidi mark could reverse what is
read. `visible` replaces each such character by its escape, `\x1b` or `\u202e`; it is applied where text
is printed. `mark_invisible` replaces them by one mark each, where escapes would take too much room.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from functools import cache

__all__ = ["escape_for_json", "is_invisible", "mark_invisible", "visible"]

_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Unicode categories without a shape of their own: control and format characters (bidi marks, zero
width), lone surrogates, private use, unassigned, and separators of lines and paragraphs."""

_BLANK_LETTERS = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u3164\uffa0")
"""Letters and marks that are drawn as nothing: fillers and selectors."""

_HARMLESS = re.compile(r"[\x20-\x7e]*")


@cache
def is_invisible(letter: str) -> bool:
    """Whether a character has no shape of its own; spaces within a line have one."""
    return unicodedata.category(letter) in _CATEGORIES or letter in _BLANK_LETTERS


def visible(text: str) -> str:
    r"""The text on one line, with `\x1b`, `\u202e` or `\U000e0001` for every invisible character."""
    return _replace(text, _escape)


def mark_invisible(text: str, mark: str) -> str:
    """The text with a mark for every invisible character."""
    return _replace(text, lambda _: mark)


def escape_for_json(encoded: str) -> str:
    r"""A JSON document with `\u009b` or `\u202e` for the invisible characters in its strings.

    Args:
        encoded: valid JSON without line breaks.

    Returns:
        JSON of the same value: outside of strings, JSON has only visible characters.
    """
    return _replace(encoded, _escape_units)


def _replace(text: str, substitute: Callable[[str], str]) -> str:
    if _HARMLESS.fullmatch(text):
        return text
    return "".join(substitute(letter) if is_invisible(letter) else letter for letter in text)


def _escape(letter: str) -> str:
    named = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}.get(letter)
    code = ord(letter)
    return named or (
        f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
    )


def _escape_units(letter: str) -> str:
    """JSON's escape of a character: beyond U+FFFF, of its two surrogates."""
    code = ord(letter)
    units = (code,) if code < 0x10000 else (0xD800 + (code - 0x10000 >> 10), 0xDC00 + (code & 0x3FF))
    return "".join(f"\\u{unit:04x}" for unit in units)
