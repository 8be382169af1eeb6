"""The pictures of an atlas: a card and a strip per unit, renderings, and whole photographs.

A card is what the layer page shows: the rendering at the left, the patches of the nine top images in
three rows at its right. The unit page shows the same file, tile by tile. A strip has the patches of the
lowest images and of the strata in one row.
"""

from __future__ import annotations

import io
from collections.abc import Sequence

from PIL import Image

from viz.render.table import Rendered
from viz.sheets.patches import NEUTRAL

__all__ = ["CARD", "CARD_TILES", "SMALL", "TILE", "Card", "encode_webp", "on_card", "shrink"]

TILE = 88
"""Side of a patch on a card, in pixels."""

PITCH = TILE + 2
"""Distance between patches: WebP halves the resolution of colour, and neighbours would bleed into each
other."""

SMALL = 64
"""Side of a patch on a strip, in pixels."""

ROWS = 3

CARD_TILES = ROWS * ROWS
"""Patches on a card."""

CARD = (2 * ROWS * PITCH, ROWS * PITCH)
"""Width and height of a card, in pixels."""


def on_card(row: Rendered) -> bool:
    """Whether a card shows a rendering in full resolution, so that it needs no file of its own."""
    width = min(row.width, round(row.box_right)) - max(0, round(row.box_left))
    height = min(row.height, round(row.box_bottom)) - max(0, round(row.box_top))
    return max(width, height) <= CARD[1] - 2


class Card:
    """The card and the strip of one unit, filled patch by patch.

    Args:
        rendering: shown at the left; None leaves the place empty.
        small: number of patches on the strip.
    """

    def __init__(self, rendering: Image.Image | None, small: int) -> None:
        self.card = Image.new("RGB", CARD, NEUTRAL)
        self.strip = Image.new("RGB", (max(1, small) * SMALL, SMALL), NEUTRAL)
        if rendering is not None:
            side = CARD[1] - 2
            self.card.paste(rendering.resize((side, side), Image.Resampling.LANCZOS), (0, 1))

    def place(self, number: int, patch: Image.Image) -> None:
        """Put a patch of `TILE` pixels at a place of the card, counted from 0 row by row."""
        row, column = divmod(number, ROWS)
        self.card.paste(patch, (CARD[1] + column * PITCH + 1, row * PITCH + 1))

    def place_small(self, number: int, patch: Image.Image) -> None:
        """Put a patch of `SMALL` pixels at a place of the strip, counted from 0."""
        self.strip.paste(patch, (number * SMALL, 0))


def encode_webp(picture: Image.Image, quality: int) -> bytes:
    """Encode a picture as WebP of a quality from 1 to 100."""
    file = io.BytesIO()
    picture.save(file, format="WEBP", quality=quality, method=4)
    return file.getvalue()


def shrink(photograph: Image.Image, side: int) -> Image.Image:
    """Resize a photograph so that its longer side is at most `side` pixels."""
    scale = side / max(photograph.size)
    if scale >= 1:
        return photograph
    size: Sequence[int] = [max(1, round(length * scale)) for length in photograph.size]
    return photograph.resize((size[0], size[1]), Image.Resampling.LANCZOS, reducing_gap=3.0)
