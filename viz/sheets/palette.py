"""Colours of sheets, as RGB."""

from __future__ import annotations

__all__ = ["ACCENT", "EMPTY", "FAINT", "INK", "PAPER", "SILHOUETTE", "SOFT_INK"]

PAPER = (255, 255, 255)
"""Background of the page."""

INK = (24, 26, 30)
"""Titles and values."""

SOFT_INK = (98, 102, 110)
"""Secondary text."""

FAINT = (214, 212, 206)
"""Rules and borders."""

SILHOUETTE = (226, 224, 218)
"""Bars of a histogram."""

EMPTY = (247, 246, 243)
"""Slots without a picture."""

ACCENT = (196, 62, 28)
"""Numbers and marks of synthetic images only."""
