"""Addresses of the pages and pictures of an atlas, relative to its folder.

Layers are numbered in forward order, units and images have the numbers of the index, and labels are
named by a digest: text from a dataset never becomes a path.
"""

from __future__ import annotations

import hashlib
import posixpath
from functools import cache

__all__ = [
    "FRONT",
    "card_file",
    "compare_data",
    "compare_front",
    "compare_page",
    "front_page",
    "image_page",
    "label_page",
    "layer_data",
    "layer_page",
    "masks_file",
    "other_card_file",
    "photograph_file",
    "projections_file",
    "regions_file",
    "relative",
    "rendering_file",
    "search_data",
    "sql_page",
    "strip_file",
    "unit_page",
]

FRONT = "index.html"
"""The front page."""


def front_page() -> str:
    """The front page."""
    return FRONT


def layer_page(ordinal: int) -> str:
    """The page of a layer, by its place in forward order."""
    return f"layer/{ordinal}.html"


def layer_data(ordinal: int) -> str:
    """The script with the statistics of a layer's units."""
    return f"data/{ordinal}.js"


def search_data() -> str:
    """The script with the units and labels of all layers."""
    return "data/search.js"


def unit_page(ordinal: int, unit: int) -> str:
    """The page of a unit."""
    return f"unit/{ordinal}/{unit}.html"


def card_file(ordinal: int, unit: int) -> str:
    """The picture of a unit: its rendering, and the patches of its top images."""
    return f"pictures/{ordinal}/{unit}.webp"


def compare_front() -> str:
    """The page that compares the layers with another index."""
    return "compare/index.html"


def compare_page(ordinal: int) -> str:
    """The page that compares the units of a layer with those of another index."""
    return f"compare/{ordinal}.html"


def compare_data(ordinal: int) -> str:
    """The script with the similarities of a layer's units."""
    return f"data/compare-{ordinal}.js"


def other_card_file(ordinal: int, unit: int) -> str:
    """The picture of a unit of another index, by the ordinal of its layer there."""
    return f"other/{ordinal}/{unit}.webp"


def strip_file(ordinal: int, unit: int) -> str:
    """The picture of a unit's lowest images and of its strata."""
    return f"pictures/{ordinal}/{unit}-range.webp"


def masks_file(ordinal: int, unit: int) -> str:
    """The masks of a unit's top images, side by side."""
    return f"maps/{ordinal}/{unit}.png"


def regions_file(ordinal: int, unit: int) -> str:
    """Outlines of what drives a unit in its top images; files have them on the unit's page."""
    return f"maps/{ordinal}/{unit}.json"


def rendering_file(ordinal: int, unit: int, number: int) -> str:
    """The picture of one rendering of a unit, counted from 0."""
    return f"pictures/{ordinal}/{unit}-{number}.webp"


def projections_file(ordinal: int, unit: int) -> str:
    """The picture of the projections of a unit's top images."""
    return f"pictures/{ordinal}/{unit}-projections.webp"


def photograph_file(image_id: int) -> str:
    """The picture of a whole photograph."""
    return f"photographs/{image_id:x}.webp"


def image_page(image_id: int) -> str:
    """The page of an image."""
    return f"image/{image_id:x}.html"


def label_page(label: str) -> str:
    """The page of a label."""
    digest = hashlib.blake2b(label.encode("utf-8", "surrogatepass"), digest_size=8)
    return f"label/{digest.hexdigest()}.html"


def sql_page() -> str:
    """The page with the SQL behind the panels."""
    return "sql.html"


def relative(page: str, target: str) -> str:
    """The address of `target` as a link on `page`."""
    folder, name = posixpath.split(target)
    way = _way(posixpath.dirname(page), folder)
    if name == ".":
        return way
    return name if way == "." else f"{way}/{name}"


@cache
def _way(start: str, end: str) -> str:
    """The way from one folder of the atlas to another."""
    return posixpath.relpath(end or ".", start or ".")
