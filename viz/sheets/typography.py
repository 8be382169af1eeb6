"""Fonts, text that fits a width, and readable labels and numbers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Literal

from PIL import ImageFont

import viz
from pipeline.visible import is_invisible

__all__ = [
    "REPLACEMENT",
    "Weight",
    "drawable",
    "fit_text",
    "font",
    "readable_label",
    "readable_number",
    "wrap_text",
]

Weight = Literal["Regular", "Medium", "SemiBold"]

FONTS = Path(viz.__file__).resolve().parent / "fonts"
"""Folder of the typeface Inter (SIL Open Font License, included in the folder)."""

ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"

MIN_LETTERS = 3
"""Text that would be shortened to fewer letters is omitted."""

REPLACEMENT = "\N{WHITE SQUARE}"
"""Drawn for a character that the typeface lacks or that would draw nothing."""

NO_CHARACTER = "\U0010ffff"
"""No typeface has it: it gets the same picture as every other character that is missing."""

_WORDNET_ID = re.compile(r"n\d{8}[ _-]+(?=\S)")


@cache
def font(weight: Weight, size: int) -> ImageFont.FreeTypeFont:
    """Load the typeface at a size in pixels; the basic layout engine is available on every machine."""
    path = FONTS / f"Inter-{weight}.otf"
    return ImageFont.truetype(str(path), size, layout_engine=ImageFont.Layout.BASIC)


def drawable(text: str, face: ImageFont.FreeTypeFont) -> str:
    """The text with a square for each character that is invisible or that the typeface lacks.

    Line breaks are such characters, so that the text stays on one line.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(letter if _has_glyph(face, letter) else REPLACEMENT for letter in text)


@cache
def _has_glyph(face: ImageFont.FreeTypeFont, letter: str) -> bool:
    return not is_invisible(letter) and _glyph(face, letter) != _glyph(face, NO_CHARACTER)


def _glyph(face: ImageFont.FreeTypeFont, letter: str) -> bytes:
    """Size and pixels of a character's picture."""
    mask = face.getmask(letter)
    return repr(mask.size).encode() + bytes(mask)


def fit_text(text: str, face: ImageFont.FreeTypeFont, width: float) -> str:
    """Shorten a text with an ellipsis to a width in pixels; see `drawable` for odd characters.

    Returns:
        The text if it fits; an empty string if fewer than `MIN_LETTERS` letters would remain.
    """
    text = drawable(text, face)
    if face.getlength(text) <= width:
        return text
    for end in range(len(text) - 1, 0, -1):
        shorter = text[:end].rstrip(" ,.;:-") + ELLIPSIS
        if face.getlength(shorter) <= width:
            return shorter if end >= MIN_LETTERS else ""
    return ""


def wrap_text(text: str, face: ImageFont.FreeTypeFont, width: float, lines: int) -> list[str]:
    """Break a text at spaces into at most `lines` lines, each shortened to a width in pixels."""
    words: Sequence[str] = text.split()
    broken: list[str] = []
    while words and len(broken) < lines - 1:
        count = 1
        while count < len(words) and face.getlength(" ".join(words[: count + 1])) <= width:
            count += 1
        broken.append(fit_text(" ".join(words[:count]), face, width))
        words = words[count:]
    return [*broken, fit_text(" ".join(words), face, width)] if words else broken


def readable_label(label: str) -> str:
    """Make a label readable: `n01484850_great_white_shark` becomes `great white shark`.

    Of synonyms separated by commas, only the first is returned.
    """
    plain = _WORDNET_ID.sub("", label, count=1).replace("_", " ").strip()
    first = plain.split(",")[0].strip()
    return " ".join(first.split()) or label


def readable_number(value: float) -> str:
    """Format a number with two or three significant digits: `0.12`, `6.92`, `12.4`, `1,234`."""
    size = abs(value)
    if size >= 100:
        words = f"{size:,.0f}"
    elif size >= 10:
        words = f"{size:.1f}"
    else:
        words = f"{size:.2f}" if size >= 1 or size == 0 else f"{size:.2g}"
    return f"\N{MINUS SIGN}{words}" if value < 0 else words
