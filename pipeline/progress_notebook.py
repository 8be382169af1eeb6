"""Progress in a notebook: one line under the cell that replaces itself, with a bar."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from html import escape
from typing import Any

__all__ = ["NotebookLine", "in_notebook"]

INTERVAL_S = 0.25
"""Shortest time between two versions of the line."""


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    if "ipykernel" not in sys.modules or "IPython" not in sys.modules:
        return False
    shell = sys.modules["IPython"].get_ipython()
    return shell is not None and hasattr(shell, "kernel")


class NotebookLine:
    """A line under the cell that replaces itself.

    Args:
        display: as `IPython.display.display`: shows an object and returns a handle to replace it by.
    """

    def __init__(self, display: Callable[..., Any] | None = None) -> None:
        if display is None:
            from IPython.display import display as shown

            display = shown
        self._handle = display(_Shown("", None, ""), display_id=True)
        self._last = 0.0

    def write(self, text: str, done: int, total: int | None, *, now: bool = False) -> None:
        """Replace the line.

        Args:
            text: of the line.
            done, total: how far the bar is; no bar for a total of None.
            now: even if it was replaced a moment ago.
        """
        moment = time.monotonic()
        if not now and moment - self._last < INTERVAL_S:
            return
        self._last = moment
        share = None if not total else min(1.0, done / total)
        bar = "" if share is None else f'<progress value="{share:.4f}" max="1"></progress> '
        self._handle.update(_Shown(bar, share, text))


class _Shown:
    """What is displayed: HTML in a notebook, the text alone where that is saved as text."""

    def __init__(self, bar: str, share: float | None, text: str) -> None:
        self.bar, self.share, self.text = bar, share, text

    def _repr_html_(self) -> str:
        return f"<div>{self.bar}{escape(self.text)}</div>"

    def __repr__(self) -> str:
        return self.text
