"""What a check has found: discrepancies, counted all, kept up to a number for each test."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from pipeline.query.index import Index

__all__ = ["MAX_KEPT", "Discrepancy", "Findings", "find_by_sql"]

MAX_KEPT = 100
"""Discrepancies that one test describes; a table of which every row is wrong has millions."""


@dataclass(frozen=True, slots=True)
class Discrepancy:
    """One inconsistency found in an index.

    Args:
        layer: of the unit that it is about; empty when it is about an image only.
        unit: likewise; -1 when it is about an image only.
        image_id: of the image that it is about; -1 when it is about a unit only.
        what: the inconsistency, in words.
    """

    layer: str
    unit: int
    image_id: int
    what: str

    @classmethod
    def of_index(cls, what: str) -> Discrepancy:
        """One that is about neither a unit nor an image."""
        return cls("", -1, -1, what)

    def __str__(self) -> str:
        about = [f"{self.layer}{f' unit {self.unit}' if self.unit >= 0 else ''}"] if self.layer else []
        about += [f"image {self.image_id}"] if self.image_id >= 0 else []
        return f"{' '.join(about) or 'index'}: {self.what}"


@dataclass(slots=True)
class Findings:
    """Collects the discrepancies of one test.

    Args:
        kept: the first `MAX_KEPT`.
        total: all of them.
    """

    kept: list[Discrepancy] = field(default_factory=list)
    total: int = 0

    def add(self, found: Discrepancy, *, count: int = 1) -> None:
        """Count a discrepancy, or `count` of which this is one, and keep it if there is room."""
        self.total += count
        if len(self.kept) < MAX_KEPT:
            self.kept.append(found)

    def add_rows(self, rows: Iterable[Discrepancy], total: int) -> None:
        """Count `total` discrepancies, of which some are given."""
        before = self.total
        for row in rows:
            self.add(row)
        self.total = before + total


def find_by_sql(index: Index, query: str, **parameters: object) -> Findings:
    """The rows of a SELECT of (layer, unit, image_id, what), in their order.

    Args:
        index: open.
        query: without a semicolon.
        parameters: that the query names.
    """
    found = Findings()
    bounded = f"SELECT *, count(*) OVER () FROM ({query}) ORDER BY ALL LIMIT {MAX_KEPT}"
    rows = index.sql(bounded, **parameters).rows
    found.add_rows((_discrepancy(row) for row in rows), int(rows[0][4]) if rows else 0)
    return found


def _discrepancy(row: tuple[object, ...]) -> Discrepancy:
    """A row in which any of the values may be NULL."""
    layer, unit, image_id, what = row[:4]
    number, image = (-1 if value is None else int(str(value)) for value in (unit, image_id))
    return Discrepancy(str(layer or ""), number, image, "a value is missing" if what is None else str(what))
