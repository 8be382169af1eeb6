"""The content of a page: cells, tiles, renderings and text, without positions."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image

__all__ = ["FACET_LETTERS", "Bucket", "Cell", "PageText", "Synthetic", "Tile"]

FACET_LETTERS = "abcd"
"""The letters of the renderings of one unit, in the order in which they are shown."""

Bucket = tuple[float, float, int]
"""(lower edge, upper edge, number of images): a bucket of a histogram of peaks."""


@dataclass(frozen=True, slots=True)
class Tile:
    """A real patch and its caption.

    Args:
        picture: the square patch.
        label: of the image.
        activation: peak of the unit in the image.
        facets: letters of the renderings that were made from the image, where there are several.
    """

    picture: Image.Image
    label: str
    activation: float
    facets: str = ""


@dataclass(frozen=True, slots=True)
class Synthetic:
    """The renderings of a unit.

    Args:
        pictures: one to four square pictures, one per facet.
        activation: highest activation of the saved pictures.
        mark: a remark on the status of the rendering; empty if it is `ok`.
    """

    pictures: tuple[Image.Image, ...]
    activation: float
    mark: str = ""


@dataclass(frozen=True, slots=True)
class Cell:
    """The content of the cell of one unit.

    Args:
        title: at the left of the title line.
        subtitle: after the title.
        note: at the right of the title line.
        tiles: patches of the top images, highest activation first.
        best: highest peak in the dataset.
        synthetic: renderings, if there are any.
        histogram: buckets of the peaks of all images, in ascending order.
    """

    title: str
    subtitle: str
    note: str
    tiles: tuple[Tile, ...]
    best: float
    synthetic: Synthetic | None = None
    histogram: tuple[Bucket, ...] = ()


@dataclass(frozen=True, slots=True)
class PageText:
    """The header and footer of a page.

    Args:
        title: name of the layer.
        subtitle: name of the network.
        facts: pairs of a name and a value.
        legend: how to read the page.
        colophon: name and version of the program.
    """

    title: str
    subtitle: str
    facts: tuple[tuple[str, str], ...]
    legend: str
    colophon: str
