"""The top lists of units, with the photograph and the patch of each image.

A list is read from `top`, and its images by number (`pipeline.query.image_rows`): for one unit that takes
half of the time of a join with all images. For many images the join is faster.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pipeline.choices import Side
from pipeline.images.preprocess import Box, Preprocess
from pipeline.query.results import TopImage

if TYPE_CHECKING:
    from pipeline.query.index import Index

__all__ = ["read_top_lists"]

_FEW_UNITS = 32
"""Units that are written into a query as numbers: only then are the rest of a table's row groups skipped."""

_FEW_IMAGES = 128
"""Most images that are looked up by number."""

_LISTED = """
SELECT layer, unit, rank, activation, image_id, y, x FROM top
WHERE layer = $layer AND unit IN ({units}) AND side = $side AND rank <= $n
ORDER BY unit, rank
"""

_JOINED = """
SELECT layer, unit, rank, activation, image_id, y, x, key, label, width, height, origin, duplicate_of
FROM top JOIN images USING (image_id)
WHERE layer = $layer AND unit IN ({units}) AND side = $side AND rank <= $n
ORDER BY unit, rank
"""

_OF_IMAGE = ("key", "label", "width", "height", "origin", "duplicate_of")


def read_top_lists(
    index: Index, layer: str, units: Sequence[int], n: int, side: Side
) -> dict[int, list[TopImage]]:
    """The first `n` images of lists.

    Args:
        index: open.
        layer: of the index.
        units: of the layer.
        n: images of each unit at most.
        side: of the lists.

    Returns:
        The images by unit, strongest first.
    """
    bound: dict[str, object] = {"layer": layer, "side": side, "n": n}
    if len(units) <= _FEW_UNITS:
        text = ", ".join(map(str, units)) or "NULL"
    else:
        text, bound["units"] = "SELECT unnest($units)", list(units)
    if len(units) * n > _FEW_IMAGES:
        rows = index.sql(_JOINED.format(units=text), **bound).dicts()
    else:
        rows = index.sql(_LISTED.format(units=text), **bound).dicts()
        images = index.image_rows.read((row["image_id"] for row in rows), _OF_IMAGE)
        rows = [
            {**row, **dict(zip(_OF_IMAGE, images[row["image_id"]], strict=True))}
            for row in rows
            if row["image_id"] in images
        ]
    geometry = index.geometry[layer]
    found: dict[int, list[TopImage]] = {unit: [] for unit in units}
    for row in rows:
        found[row["unit"]].append(TopImage(box=_box(row, geometry, index.preprocess), **row))
    return found


def _box(row: Mapping[str, Any], geometry: Mapping[str, int], preprocess: Preprocess) -> Box:
    """What a position sees, in pixels of the original; as the view `patches` has it."""
    top = geometry["start_y"] + row["y"] * geometry["stride_y"]
    left = geometry["start_x"] + row["x"] * geometry["stride_x"]
    seen = Box(left, top, left + geometry["rf_w"], top + geometry["rf_h"])
    return preprocess.seen_in_original(seen, row["width"], row["height"])
