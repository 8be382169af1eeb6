"""A unit's top images: which are shown or used, and how they are divided among renderings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from pipeline.errors import RenderingFailed
from pipeline.query.index import TopImage
from viz.inputs.facets import cluster

__all__ = ["PER_ORIGIN", "NoTopImages", "TopImages", "choose_images"]

PER_ORIGIN = 2
"""Images cut from one original that may stand for one unit: more would say the same again."""


class NoTopImages(RenderingFailed):
    """A unit has no top images, and a recipe is made from them."""


@dataclass(frozen=True, slots=True)
class TopImages:
    """Top images of a unit, the strongest first, or those of them that one rendering is made from.

    Args:
        images: image_ids.
        pictures: (channel, y, x) float on 0..255 of each, its peak moved to the target; they cover
            the canvas with its margin. One alone where only the mean is wanted.
        features: gives (image, feature) penultimate features of the whole images.
        generator: for clustering.
    """

    images: tuple[int, ...]
    pictures: Sequence[Tensor]
    features: Callable[[], Tensor] | None = None
    generator: Generator | None = None

    @property
    def mean(self) -> Tensor:
        """(channel, y, x) mean picture, float."""
        return torch.stack(list(self.pictures)).float().mean(0)

    def at(self, places: Sequence[int]) -> TopImages:
        """Those at some places of the ranking."""
        images = tuple(self.images[place] for place in places)
        return TopImages(images, [self.pictures[place] for place in places])

    def averaged(self) -> TopImages:
        """The same images with their mean as the only picture."""
        return TopImages(self.images, [self.mean])

    def one_by_one(self) -> list[TopImages]:
        """Every image by itself."""
        return [self.at([place]) for place in range(len(self.images))]

    def facets(self, clusters: int, nearest: int, components: int) -> list[TopImages]:
        """Clusters of similar images, the largest first; see `viz.inputs.facets.cluster`."""
        assert self.features is not None
        assert self.generator is not None
        groups = cluster(self.features(), clusters, nearest, components, self.generator)
        return [self.at(group) for group in groups]


def choose_images(
    candidates: Iterable[TopImage], count: int, *, per_origin: int = PER_ORIGIN
) -> list[TopImage]:
    """The strongest images that are different photographs.

    Args:
        candidates: strongest first; give more than are wanted.
        count: how many are wanted; fewer come back when there are no more different ones.
        per_origin: how many may be cut from one original.
    """
    chosen: list[TopImage] = []
    photographs: set[int] = set()
    origins: Counter[str] = Counter()
    for image in candidates:
        if len(chosen) == count:
            break
        if image.photograph in photographs:
            continue
        if image.origin is not None and origins[image.origin] >= per_origin:
            continue
        photographs.add(image.photograph)
        if image.origin is not None:
            origins[image.origin] += 1
        chosen.append(image)
    return chosen
