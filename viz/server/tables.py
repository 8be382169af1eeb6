"""The result of a query as cells: links and thumbnails where a column is a unit, image or label."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.layers.layer import Layer
from viz.atlas import addresses
from viz.server.sql_process import SqlRows
from viz.sheets.typography import readable_number

__all__ = ["Cell", "Linker"]

IMAGE_COLUMNS = ("image_id", "duplicate_of")

UNIT_COLUMNS = ("unit", "other", "other_unit")
"""Columns with units of the row's layer, or of the layer that the query was given."""

LABEL_COLUMNS = ("label", "majority_label")

MAX_ID = 1 << 62


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of a table.

    Args:
        text: what it shows.
        number: whether it is a number.
        link: address of a page, relative to the atlas; empty for none.
        picture: address of a picture; empty for none.
        kind: of the picture: `image` or `card`.
    """

    text: str
    number: bool = False
    link: str = ""
    picture: str = ""
    kind: str = ""


class Linker:
    """Makes cells of an index's rows.

    Args:
        layers: of the index.
        labels: that have a page.
        layer: name of the layer that a query was given; empty for none.
    """

    def __init__(self, layers: Sequence[Layer], labels: Callable[[], Mapping[str, str]], layer: str) -> None:
        self._layers = {each.name: each for each in layers}
        self._labels, self._layer = labels, layer

    def cells(self, found: SqlRows) -> list[list[Cell]]:
        """The cells of all rows."""
        names = [name.lower() for name in found.columns]
        place = names.index("layer") if "layer" in names else None
        rows = []
        for row in found.rows:
            layer = self._layers.get(str(row[place]) if place is not None else self._layer)
            rows.append([self._cell(name, value, layer) for name, value in zip(names, row, strict=True)])
        return rows

    def _cell(self, name: str, value: Any, layer: Layer | None) -> Cell:
        if value is None:
            return Cell("\N{EN DASH}")
        whole = isinstance(value, int) and not isinstance(value, bool)
        if whole and name in IMAGE_COLUMNS and 0 <= value < MAX_ID:
            picture = addresses.photograph_file(value)
            return Cell(str(value), True, addresses.image_page(value), picture, "image")
        if whole and layer is not None and name in UNIT_COLUMNS and 0 <= value < layer.units:
            page = addresses.unit_page(layer.ordinal, value)
            return Cell(str(value), True, page, addresses.card_file(layer.ordinal, value), "card")
        if name == "layer" and layer is not None:
            return Cell(str(value), False, addresses.layer_page(layer.ordinal))
        if name in LABEL_COLUMNS and isinstance(value, str):
            page = addresses.label_page(value)
            return Cell(value, False, page if page in self._labels() else "")
        if isinstance(value, float):
            return Cell(readable_number(value), True)
        return Cell(str(value), whole)
