"""The drawing commands, added to the one app of `pipeline.cli`."""

from __future__ import annotations

from pipeline.cli import app
from pipeline.cli import main as main

__all__ = ["DRAW", "app", "main"]

DRAW = "Draw"
"""Help panel of the commands that make pictures."""
