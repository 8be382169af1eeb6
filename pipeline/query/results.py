"""What an index answers with: rows of a SELECT, and the top images of a unit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from pipeline.images.preprocess import Box

__all__ = ["QueryResult", "Side", "TopImage"]

Side = Literal["high", "low"]
"""The highest or the lowest peaks of a unit."""


@dataclass(frozen=True, slots=True)
class QueryResult:
    """What a SELECT gave: column names, and one tuple per row."""

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]

    def dicts(self) -> list[dict[str, Any]]:
        """One dict per row."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]


@dataclass(frozen=True, slots=True)
class TopImage:
    """One of the images that drive a unit most (or least, on the low side).

    `(y, x)` is the grid position of the peak, `box` the patch that this position saw, in pixels
    of the original photograph; `duplicate_of` is the image_id of the same photograph seen before.
    """

    layer: str
    unit: int
    rank: int
    activation: float
    image_id: int
    y: int
    x: int
    key: str
    label: str | None
    width: int
    height: int
    box: Box
    origin: str | None = None
    duplicate_of: int | None = None

    @property
    def photograph(self) -> int:
        """The same number for all copies of one photograph."""
        return self.image_id if self.duplicate_of is None else self.duplicate_of
