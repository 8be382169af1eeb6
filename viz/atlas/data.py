"""The data scripts of an atlas: each is one call of one function, as `fetch` is refused on file://."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pipeline.visible import mark_invisible
from viz.atlas import addresses
from viz.atlas.content import LayerContent, UnitContent
from viz.sheets.typography import REPLACEMENT, readable_label

__all__ = ["STATISTICS", "describe", "layer_data", "layer_script", "search_data", "sort_orders"]

STATISTICS: Mapping[str, str] = {
    "max": "highest peak",
    "mean": "mean peak",
    "std": "standard deviation",
    "min": "lowest peak",
    "p50": "median peak",
    "p90": "90th percentile",
    "p99": "99th percentile",
    "p999": "99.9th percentile",
    "active_fraction": "active fraction",
    "selectivity": "selectivity",
    "precision": "label precision",
}
"""Columns of `units` by which a layer's page sorts and filters, with their titles."""

WORDS = 3
"""Labels of a unit through which a search looks."""


def layer_data(content: LayerContent) -> tuple[str, str]:
    """Address and text of the script with labels and statistics of a layer's units."""
    rows = [describe(unit) for unit in content.units]
    return addresses.layer_data(content.layer.ordinal), layer_script(content, rows)


def layer_script(content: LayerContent, rows: Sequence[Mapping[str, Any]]) -> str:
    """The text of a script with labels and columns of a layer's units.

    Args:
        content: of the layer.
        rows: values by column, one a unit, all with the same columns.
    """
    labelled = [sorted({_readable(mean.label) for mean in _labels(unit)}) for unit in content.units]
    labels = sorted({label for found in labelled for label in found})
    places = {label: place for place, label in enumerate(labels)}
    data = {
        "layer": content.layer.name,
        "ordinal": content.layer.ordinal,
        "labels": labels,
        "labelled": [[places[label] for label in found] for found in labelled],
        "columns": {name: [row[name] for row in rows] for name in (rows[0] if rows else ())},
    }
    return _call("atlas", data)


def sort_orders(content: LayerContent) -> list[tuple[str, str]]:
    """Columns by which the units of a layer can be sorted, with their titles: those that have values."""
    rows = [describe(unit) for unit in content.units]
    titles = {"unit": "number", **STATISTICS, "ratio": "synthetic / real"}
    return [(name, title) for name, title in titles.items() if any(row[name] is not None for row in rows)]


def search_data(layers: Iterable[LayerContent], labels: Iterable[str]) -> tuple[str, str]:
    """Address and text of the script with which all units and labels are searched."""
    found = [
        {
            "layer": content.layer.name,
            "ordinal": content.layer.ordinal,
            "units": [[unit.unit, _words(unit)] for unit in content.units],
        }
        for content in layers
    ]
    pages = [[_readable(label), addresses.label_page(label)] for label in sorted(labels)]
    return addresses.search_data(), _call("atlasSearch", {"layers": found, "labels": pages})


def _call(name: str, data: object) -> str:
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    return f"{name}({text})\n"


def describe(unit: UnitContent) -> dict[str, Any]:
    """Words and statistics of a unit, by which a layer's page is sorted and filtered."""
    row: dict[str, Any] = {"unit": unit.unit, "words": _words(unit), "dead": unit.dead}
    for name in STATISTICS:
        value = unit.statistics[name]
        row[name] = None if value is None or value != value else float(f"{float(value):.5g}")
    first = unit.renderings[0] if unit.renderings else None
    row["ratio"] = None if first is None or first.ratio is None else round(first.ratio, 3)
    row["status"] = None if first is None else first.status
    return row


def _labels(unit: UnitContent) -> Iterable[Any]:
    return () if unit.dead else unit.labels


def _words(unit: UnitContent) -> str:
    """Title, names and labels of a unit."""
    words = (
        unit.title or "",
        *(name.concept for name in unit.names),
        *(mean.label for mean in unit.labels[:WORDS]),
    )
    return ", ".join(dict.fromkeys(readable for word in words if (readable := _readable(word))))


def _readable(text: str) -> str:
    return mark_invisible(readable_label(text), REPLACEMENT)
