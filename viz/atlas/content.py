"""The content of the pages of an atlas, without HTML."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pipeline.layers.layer import Layer
from viz.render.table import Rendered

__all__ = ["LabelMean", "LayerContent", "Neighbour", "Patch", "Photograph", "UnitContent", "UnitName"]


@dataclass(frozen=True, slots=True)
class Photograph:
    """An image of the dataset.

    Args:
        image_id: its number.
        key: its name in the dataset.
        label: given by the dataset.
        width: of the upright original, in pixels.
        height: likewise.
    """

    image_id: int
    key: str
    label: str | None
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Patch:
    """One image at one place of a unit's range.

    Args:
        image_id: of the image.
        activation: the unit's peak in it.
        y: row of the peak on the layer's grid.
        x: its column.
        place: rank in the list for top and lowest images, from 1; number of the stratum for strata.
    """

    image_id: int
    activation: float
    y: int
    x: int
    place: int


@dataclass(frozen=True, slots=True)
class LabelMean:
    """A label with a high mean peak.

    Args:
        label: the label.
        images: number of images with it.
        mean: mean peak of the unit over them.
    """

    label: str
    images: int
    mean: float


@dataclass(frozen=True, slots=True)
class UnitName:
    """A concept that explains a unit's peaks.

    Args:
        concept: a label, or the name of a set of labels.
        source: where the concept is from.
        correlation: of the peaks with the concept, over all labelled images.
        held_out: over the half of the images by which it was not chosen.
        images: number of images that show it.
    """

    concept: str
    source: str
    correlation: float
    held_out: float
    images: int


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A unit of the same layer that shares top images.

    Args:
        unit: its number.
        shared: number of images in both lists.
        jaccard: shared over the number of images in either list.
    """

    unit: int
    shared: int
    jaccard: float


@dataclass(frozen=True, slots=True)
class Correlated:
    """A unit of the same layer whose peaks rise and fall with a unit's.

    Args:
        unit: its number.
        correlation: Pearson's r of the peaks over all images.
    """

    unit: int
    correlation: float


@dataclass(frozen=True, slots=True)
class UnitContent:
    """What the atlas shows of one unit.

    Args:
        layer: by name.
        unit: its number.
        title: class name in a classifier, otherwise empty.
        statistics: row of the table `units`.
        high: top images that are different photographs, highest first.
        low: lowest images, lowest first.
        strata: one image of each tenth of the unit's range, lowest first.
        labels: with the highest mean peaks, highest first.
        histogram: (lower edge, upper edge, images) of the buckets that are not empty, ascending.
        renderings: those with a successful status first.
        neighbours: most similar first.
        correlated: where the index keeps the peaks of all images, highest correlation first.
        names: the concept that explains most first.
    """

    layer: str
    unit: int
    title: str
    statistics: Mapping[str, float | str | None]
    high: tuple[Patch, ...] = ()
    low: tuple[Patch, ...] = ()
    strata: tuple[Patch, ...] = ()
    labels: tuple[LabelMean, ...] = ()
    histogram: tuple[tuple[float, float, int], ...] = ()
    renderings: tuple[Rendered, ...] = ()
    neighbours: tuple[Neighbour, ...] = ()
    correlated: tuple[Correlated, ...] = ()
    names: tuple[UnitName, ...] = ()

    @property
    def alike(self) -> tuple[int, ...]:
        """The other units that the page links to."""
        return (*(each.unit for each in self.neighbours), *(each.unit for each in self.correlated))

    @property
    def dead(self) -> bool:
        """Whether the peak is the same in all images."""
        return self.statistics["min"] == self.statistics["max"]

    @property
    def patches(self) -> tuple[Patch, ...]:
        """All images that are shown, in the order of their tiles."""
        return (*self.high, *self.low, *self.strata)


@dataclass(frozen=True, slots=True)
class LayerContent:
    """What the atlas shows of one layer.

    Args:
        layer: as it was indexed.
        seen: the layer with the receptive field that patches show: that of the renderings.
        units: those that were chosen, ascending.
    """

    layer: Layer
    seen: Layer
    units: tuple[UnitContent, ...] = field(default=())
