"""The nearest unit in every other index of the same dataset on the server."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from pipeline.layers.layer import Layer
from viz.server.book import Book

__all__ = ["NearestUnit", "nearest_units"]

LIST = "SELECT image_id FROM top WHERE layer = $layer AND unit = $unit AND side = 'high' ORDER BY image_id"


@dataclass(frozen=True, slots=True)
class NearestUnit:
    """A unit of another index that shares top images.

    Args:
        book: number of the index on the server.
        title: by which pages name the index.
        layer: of the unit.
        unit: its number.
        name: of its class, else empty.
        rendered: whether it has a rendering.
        shared: number of images in both lists.
        jaccard: shared over the number of images in either list.
    """

    book: int
    title: str
    layer: Layer
    unit: int
    name: str
    rendered: bool
    shared: int
    jaccard: float


def nearest_units(book: Book, layer: Layer, unit: int, books: Iterable[Book]) -> Iterator[NearestUnit]:
    """The nearest unit in each index of the same dataset; none where no unit shares a top image.

    Args:
        book: the index of the unit.
        layer: of the unit.
        unit: its number.
        books: all indexes of the server.
    """
    others = [other for other in books if other.number != book.number and other.contents.is_current()]
    if not others:
        return
    found = book.index.sql(LIST, layer=layer.name, unit=unit).rows
    listed = np.array([image_id for (image_id,) in found], np.int64)
    for other in others:
        if not len(listed) or other.contents.images != book.contents.images:
            continue
        for _, match in other.contents.top_lists.nearest(layer.name, {unit: listed}):
            theirs = other.index.layer(match.layer)
            names = other.index.class_names(match.layer)
            yield NearestUnit(
                book=other.number,
                title=_title(other, book),
                layer=theirs,
                unit=match.unit,
                name=names[match.unit] if names else "",
                rendered=other.contents.rendered(theirs, [match.unit])[match.unit],
                shared=match.shared,
                jaccard=match.jaccard,
            )


def _title(other: Book, book: Book) -> str:
    """The name of an index's network, and of its folder where another index has the same network."""
    name = other.pages.site.network
    return name if name != book.pages.site.network else f"{name} in {other.index.out.resolve().name}"
