"""The top lists of units, with the photograph and the patch of each image.

A few lists are read from `top` by their row groups, and their images by number (`pipeline.query.list_rows`,
`pipeline.query.image_rows`): for one unit that takes a third of the time of a join with all images, and
hardly more in a larger table. For many images the join is faster.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from pipeline.choices import Side
from pipeline.images.preprocess import Box, Preprocess
from pipeline.query.results import TopImage

if TYPE_CHECKING:
    from pipeline.query.index import Index

__all__ = ["read_top_lists"]

_FEW_IMAGES = 128
"""Most images that are looked up by number."""

_JOINED = """
SELECT layer, unit, rank, activation, image_id, y, x, key, label, width, height, origin, duplicate_of
FROM top JOIN images USING (image_id)
WHERE layer = $layer AND unit IN (SELECT unnest($units)) AND side = $side AND rank <= $n
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
    if len(units) * n > _FEW_IMAGES:
        rows = index.sql(_JOINED, layer=layer, units=list(units), side=side, n=n).dicts()
    else:
        rows = _look_up(index, layer, units, n, side)
    geometry = index.geometry[layer]
    found: dict[int, list[TopImage]] = {unit: [] for unit in units}
    for row in rows:
        found[row["unit"]].append(TopImage(box=_box(row, geometry, index.preprocess), **row))
    return found


def _look_up(index: Index, layer: str, units: Sequence[int], n: int, side: Side) -> list[dict[str, Any]]:
    """The rows that `_JOINED` gives; images that are not in their table are left out, as in a join."""
    listed = [(unit, row) for unit in units for row in index.list_rows.read(layer, unit, side, n)]
    images = index.image_rows.read((row.image_id for _, row in listed), _OF_IMAGE)
    return [
        {
            "layer": layer,
            "unit": unit,
            **asdict(row),
            **dict(zip(_OF_IMAGE, images[row.image_id], strict=True)),
        }
        for unit, row in listed
        if row.image_id in images
    ]


def _box(row: Mapping[str, Any], geometry: Mapping[str, int], preprocess: Preprocess) -> Box:
    """What a position sees, in pixels of the original; as the view `patches` has it."""
    top = geometry["start_y"] + row["y"] * geometry["stride_y"]
    left = geometry["start_x"] + row["x"] * geometry["stride_x"]
    seen = Box(left, top, left + geometry["rf_w"], top + geometry["rf_h"])
    return preprocess.seen_in_original(seen, row["width"], row["height"])
