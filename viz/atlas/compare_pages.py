"""The pages that compare an index with another, and their data scripts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from viz.atlas import addresses
from viz.atlas.comparison import Comparison
from viz.atlas.content import LayerContent, UnitContent
from viz.atlas.data import describe, layer_script
from viz.atlas.pages import Pages

__all__ = ["compare_data", "compare_front", "compare_layer"]

SORTS = (
    ("unit", "number"),
    ("jaccard", "similarity"),
    ("shared", "shared images"),
    ("max", "highest peak"),
    ("selectivity", "selectivity"),
)
"""Orders of the units, with their titles."""


def compare_front(pages: Pages, layers: Sequence[LayerContent], comparison: Comparison) -> tuple[str, str]:
    """Address and text of the page with all layers."""
    return pages.page(
        "compare.html",
        addresses.compare_front(),
        comparison=comparison,
        summaries=[(content, *comparison.summary(content.units)) for content in layers],
    )


def compare_layer(
    pages: Pages, layers: Sequence[LayerContent], comparison: Comparison, place: int
) -> tuple[str, str]:
    """Address and text of the page of the layer at a place: each unit beside its nearest in the other
    index.
    """
    content = layers[place]
    matched, common = comparison.summary(content.units)
    return pages.page(
        "compare_layer.html",
        addresses.compare_page(content.layer.ordinal),
        content=content,
        comparison=comparison,
        matched=matched,
        median=common,
        sorts=SORTS,
        before=layers[place - 1].layer if place else None,
        after=layers[place + 1].layer if place + 1 < len(layers) else None,
    )


def compare_data(content: LayerContent, comparison: Comparison) -> tuple[str, str]:
    """Address and text of the script by which the page of a layer is sorted and filtered."""
    rows = [_row(comparison, unit) for unit in content.units]
    return addresses.compare_data(content.layer.ordinal), layer_script(content, rows)


def _row(comparison: Comparison, unit: UnitContent) -> dict[str, Any]:
    row, match = describe(unit), comparison.match(unit)
    near = "" if match is None else f"{match.layer} {match.unit}"
    return row | {
        "words": ", ".join(word for word in (row["words"], near) if word),
        "jaccard": None if match is None else round(match.jaccard, 4),
        "shared": None if match is None else match.shared,
    }
