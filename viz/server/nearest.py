"""The nearest unit in every other index of the same dataset on the server."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from pipeline.layers.layer import Layer
from viz.server.live_atlas import LiveAtlas

__all__ = ["NearestUnit", "nearest_units"]

LIST = "SELECT image_id FROM top WHERE layer = $layer AND unit = $unit AND side = 'high' ORDER BY image_id"


@dataclass(frozen=True, slots=True)
class NearestUnit:
    """A unit of another index that shares top images.

    Args:
        atlas: number of the index on the server.
        title: by which pages name the index.
        layer: of the unit.
        unit: its number.
        name: of its class, else empty.
        rendered: whether it has a rendering.
        shared: number of images in both lists.
        jaccard: shared over the number of images in either list.
    """

    atlas: int
    title: str
    layer: Layer
    unit: int
    name: str
    rendered: bool
    shared: int
    jaccard: float


def nearest_units(
    atlas: LiveAtlas, layer: Layer, unit: int, atlases: Iterable[LiveAtlas]
) -> Iterator[NearestUnit]:
    """The nearest unit in each index of the same dataset; none where no unit shares a top image.

    Args:
        atlas: the index of the unit.
        layer: of the unit.
        unit: its number.
        atlases: all indexes of the server.
    """
    others = [other for other in atlases if other.number != atlas.number and other.contents.is_current()]
    if not others:
        return
    found = atlas.index.sql(LIST, layer=layer.name, unit=unit).rows
    listed = np.array([image_id for (image_id,) in found], np.int64)
    for other in others:
        if not len(listed) or other.contents.images != atlas.contents.images:
            continue
        for _, match in other.contents.top_lists.nearest(layer.name, {unit: listed}):
            theirs = other.index.layer(match.layer)
            names = other.index.class_names(match.layer)
            yield NearestUnit(
                atlas=other.number,
                title=_title(other, atlas),
                layer=theirs,
                unit=match.unit,
                name=names[match.unit] if names else "",
                rendered=other.contents.rendered(theirs, [match.unit])[match.unit],
                shared=match.shared,
                jaccard=match.jaccard,
            )


def _title(other: LiveAtlas, atlas: LiveAtlas) -> str:
    """The name of an index's network, and of its folder where another index has the same network."""
    name = other.pages.site.network
    return name if name != atlas.pages.site.network else f"{name} in {other.index.out.resolve().name}"
