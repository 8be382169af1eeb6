"""`faccent`: feature accentuation as published, on the phases of a top image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from viz.choices import Source
from viz.recipes.base import Recipe
from viz.recipes.one_by_one import OneByOne
from viz.recipes.opacity import with_opacity
from viz.recipes.patches import windows

if TYPE_CHECKING:
    from torch import Tensor

    from viz.ascent.balanced_distance import BalancedDistance
    from viz.ascent.history import AscentResult
    from viz.ascent.loop import Ascent
    from viz.inputs.batch import Batch

__all__ = ["RECIPES", "Faccent"]

START_LOGIT = 5.0
"""Of the share of a magnitude at the start: 0.993 of the photograph's."""

OPAQUE = 0.8
"""Quantile of the pixels' importance from which on they are opaque."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Faccent(OneByOne, Recipe):
    """Feature accentuation as published: the phases of a top image, scored on crops of all sizes.

    Hamblin et al. 2024 and their package faccent. Adam moves the phases of the image's spectrum, and
    what share of each magnitude is left. A score term keeps the picture's features in the middle of the
    layers before the unit's near those of the image. Recipe `accentuate` has Lucid's parametrisation and
    views instead.

    Args:
        images: renderings of a unit, one from each of its top images.
        steps: gradient steps.
        rate: learning rate of Adam.
        crops: random crops of the picture in each step.
        crop_size: smallest and largest side of a crop, as a share of the picture's.
        noise: standard deviation on 0..1 of Gaussian noise added to a crop; uniform noise of this
            width comes on top.
        near: weight of the distance to the image in feature space; 1 is as strong as the score.
    """

    source: ClassVar[Source | None] = "index"

    name: str = "faccent"
    images: int = 1
    steps: int = 100
    rate: float = 0.05
    crops: int = 16
    crop_size: tuple[float, float] = (0.05, 0.99)
    noise: float = 0.02
    near: float = 1.0

    def __post_init__(self) -> None:
        Recipe.__post_init__(self)
        self._require_positive("images", "steps", "rate", "crops")
        self._require_at_least_zero("noise", "near")
        low, high = self.crop_size
        self._require(0 < low <= high <= 1, "crop_size", "smallest:largest, above 0 and at most 1")

    @property
    def total_steps(self) -> int:
        """Number of gradient steps."""
        return self.steps

    def ascent(self, batch: Batch) -> Ascent:
        """Adam on phases and shares; the score of a picture is the mean over its crops."""
        import torch

        from viz.ascent.loop import Ascent
        from viz.ascent.optimisers import Adam
        from viz.ascent.parametrisation import Polar
        from viz.ascent.random_views import CropViews
        from viz.ascent.spectrum import picture_to_polar
        from viz.ascent.view_maps import draw_boxes

        canvas, generators = batch.canvas, batch.generators
        starts = torch.cat([windows(top, canvas)[:1] for top in batch.top_images])
        magnitudes, phases = picture_to_polar(starts)
        size = (canvas.height, canvas.width)
        maps = draw_boxes(generators, self.steps, self.crops, size=self.crop_size, picture=size, window=size)
        return Ascent(
            self.steps,
            torch.stack([phases, torch.full_like(phases, START_LOGIT)], dim=-1),
            Polar(size, magnitudes.to(batch.device)),
            Adam(self.rate),
            CropViews(maps.to(batch.device), canvas, 255 * self.noise, batch.shape[0], generators),
            self._distance(batch, starts),
            keep_scored=True,
            importance=True,
        )

    def finish(self, result: AscentResult, batch: Batch) -> AscentResult:
        """The pictures with an opacity: how much each pixel mattered."""
        return with_opacity(result, OPAQUE)

    def _distance(self, batch: Batch, starts: Tensor) -> BalancedDistance | None:
        from viz.ascent.balanced_distance import BalancedDistance

        if self.near == 0:
            return None
        up_to = batch.inputs.statistics_layers(batch.layer)[0]
        before = [each for each in up_to if each.name != batch.layer.name] or [batch.layer]
        return BalancedDistance(before[len(before) // 2], self.near, starts, self.crops)


RECIPES = (Faccent(),)
