"""One typeface in three weights, and text cut to fit."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Literal

from PIL import ImageFont

import viz

__all__ = ["Weight", "fit_text", "font", "readable_label", "readable_number", "wrap_text"]

Weight = Literal["Regular", "Medium", "SemiBold"]

FONTS = Path(viz.__file__).resolve().parent / "fonts"
"""Inter, under the SIL Open Font License (its licence lies beside it)."""

ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"

FEWEST_LETTERS = 3
"""A text cut shorter than this says nothing and is left out."""

_WORDNET_ID = re.compile(r"n\d{8}[ _-]+(?=\S)")


@cache
def font(weight: Weight, size: int) -> ImageFont.FreeTypeFont:
    """The typeface at a size in pixels; plain layout, so that every machine sets it alike."""
    path = FONTS / f"Inter-{weight}.otf"
    return ImageFont.truetype(str(path), size, layout_engine=ImageFont.Layout.BASIC)


def fit_text(text: str, face: ImageFont.FreeTypeFont, width: float) -> str:
    """The text, or as much of its beginning as fits with an ellipsis, or nothing."""
    if face.getlength(text) <= width:
        return text
    for end in range(len(text) - 1, 0, -1):
        shorter = text[:end].rstrip(" ,.;:-") + ELLIPSIS
        if face.getlength(shorter) <= width:
            return shorter if end >= FEWEST_LETTERS else ""
    return ""


def wrap_text(text: str, face: ImageFont.FreeTypeFont, width: float, lines: int) -> list[str]:
    """The text broken at its spaces into at most `lines` lines, the last one cut to fit."""
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
    """A label as people say it: `n01484850_great_white_shark` is `great white shark`.

    Of synonyms separated by commas the first is kept.
    """
    plain = _WORDNET_ID.sub("", label, count=1).replace("_", " ").strip()
    first = plain.split(",")[0].strip()
    return " ".join(first.split()) or label


def readable_number(value: float) -> str:
    """Two or three digits: `0.12`, `6.92`, `12.4`, `1,234`."""
    size = abs(value)
    if size >= 100:
        words = f"{size:,.0f}"
    elif size >= 10:
        words = f"{size:.1f}"
    else:
        words = f"{size:.2f}" if size >= 1 or size == 0 else f"{size:.2g}"
    return f"\N{MINUS SIGN}{words}" if value < 0 else words
