"""Where renderings of a unit start that draw on its top images: at one, or at the mean of some."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import singledispatch

import torch
from torch import Generator, Tensor

from viz.canvas import Canvas
from viz.recipes.base import Recipe
from viz.recipes.pixels import Facets
from viz.recipes.spectrum import Accentuate, Typical
from viz.render.facets import cluster, mean_of

__all__ = ["Laid", "Start", "starts_from"]

MID = 127.5
"""The grey around which contrast is raised."""

FACET_COMPONENTS = 50
"""Of the principal component analysis before top images are sorted, as in recipe `facets`."""


@dataclass(frozen=True, slots=True)
class Start:
    """Where a rendering starts.

    Args:
        picture: (channel, y, x) float on 0..255.
        images: image_ids it was made of.
        patches: (patch, channel, y, x) on the canvas's window, where a recipe wants them.
    """

    picture: Tensor
    images: tuple[int, ...] = ()
    patches: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Laid:
    """A unit's top images, the strongest first.

    Args:
        images: image_ids.
        pictures: of each (channel, y, x) float on 0..255, its peak moved to the target.
        features: gives (image, feature) of the whole images, by which they are sorted.
        canvas: what is rendered; the pictures cover it with its margin.
        generator: draws what is random in sorting them.
    """

    images: Sequence[int]
    pictures: Sequence[Tensor]
    features: Callable[[], Tensor]
    canvas: Canvas
    generator: Generator

    def some(self, places: Sequence[int]) -> tuple[tuple[int, ...], list[Tensor]]:
        """image_ids and pictures at some places of the ranking."""
        return tuple(self.images[p] for p in places), [self.pictures[p] for p in places]


@singledispatch
def starts_from(recipe: Recipe, top: Laid) -> list[Start]:
    """The starts of all renderings of a unit, by facet.

    Args:
        recipe: one that draws on top images.
        top: as many as there are of those it asks for.
    """
    raise TypeError(f"recipe {recipe.name} does not start from top images")


@starts_from.register
def _(recipe: Accentuate, top: Laid) -> list[Start]:
    return [Start(picture, (image,)) for picture, image in zip(top.pictures, top.images, strict=True)]


@starts_from.register
def _(recipe: Facets, top: Laid) -> list[Start]:
    groups = cluster(top.features(), recipe.clusters, recipe.nearest, recipe.components, top.generator)
    found = [top.some(group) for group in groups]
    return [Start(mean_of(pictures), images) for images, pictures in found]


@starts_from.register
def _(recipe: Typical, top: Laid) -> list[Start]:
    groups = [list(range(len(top.images)))]
    if recipe.clusters > 1:
        groups = cluster(top.features(), recipe.clusters, recipe.images, FACET_COMPONENTS, top.generator)
    return [_typical_start(recipe, top.canvas, *top.some(group)) for group in groups]


def _typical_start(
    recipe: Typical, canvas: Canvas, images: tuple[int, ...], pictures: Sequence[Tensor]
) -> Start:
    """The mean of patches with its contrast raised, and the patches without the margin."""
    mean = mean_of(pictures)
    start = (MID + recipe.contrast * (mean - MID)).clamp(0, 255)
    top, left = canvas.window_in(*mean.shape[1:])
    patches = torch.stack(list(pictures)).float()
    patches = patches[:, :, top : top + canvas.height, left : left + canvas.width]
    return Start(start, images, patches)
