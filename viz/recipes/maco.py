"""`maco`: NAdam on the phases of a spectrum, scored on random crops."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from viz.choices import Source
from viz.recipes.base import Recipe
from viz.recipes.opacity import with_opacity

if TYPE_CHECKING:
    from viz.ascent.history import AscentResult
    from viz.ascent.loop import Ascent
    from viz.inputs.batch import Batch

__all__ = ["RECIPES", "Maco"]

OPAQUE = 0.8
"""Quantile of the pixels' importance from which on they are opaque."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Maco(Recipe):
    """Fel et al. 2023: phases are optimised; magnitudes are the mean spectrum of the dataset.

    Args:
        steps: gradient steps.
        rate: learning rate of NAdam.
        crops: random crops of the picture in each step.
        crop_size: mean side of a crop in the first and the last step, as a share of the picture's.
        crop_sd: standard deviation of that share, which stays in 0.05..1.
        centre_sd: standard deviation of a crop's centre around the picture's, as such a share.
        noise: standard deviation on 0..1 of Gaussian noise added to a crop; uniform noise of this
            width comes on top.
        enlarge: side of the picture, as a multiple of the side of what the network is shown.
        images: of the dataset, whose mean spectrum is used.
        patience: stop a picture whose score has not risen for this many steps; 0: never.
    """

    source: ClassVar[Source | None] = "index"

    name: str = "maco"
    steps: int = 256
    rate: float = 1.0
    crops: int = 32
    crop_size: tuple[float, float] = (0.5, 0.05)
    crop_sd: float = 0.05
    centre_sd: float = 0.15
    noise: float = 0.08
    enlarge: float = 2.0
    images: int = 256
    patience: int = 0

    def __post_init__(self) -> None:
        Recipe.__post_init__(self)
        self._require_positive("steps", "rate", "crops", "images")
        self._require_at_least_zero("crop_sd", "centre_sd", "noise", "patience")
        sound = all(0 < size <= 1 for size in self.crop_size)
        self._require(sound, "crop_size", "first:last, above 0 and at most 1")
        self._require(1 <= self.enlarge <= 8, "enlarge", "1..8")

    @property
    def total_steps(self) -> int:
        """Number of gradient steps."""
        return self.steps

    @property
    def zoom(self) -> float:
        """Pixels of the picture to a pixel of the canvas."""
        return self.enlarge

    def ascent(self, batch: Batch) -> Ascent:
        """NAdam on phases; the score of a picture is the mean over its crops."""
        import torch

        from viz.ascent.loop import Ascent
        from viz.ascent.optimisers import Adam
        from viz.ascent.parametrisation import Phases
        from viz.ascent.random_views import CropViews
        from viz.ascent.view_maps import draw_crops

        canvas, generators = batch.canvas, batch.generators
        height, width = (round(side * self.enlarge) for side in canvas.size)
        magnitudes = batch.inputs.mean_spectrum(self.images, height, width).to(batch.device)
        start = torch.stack([torch.randn(magnitudes.shape, generator=each) for each in generators])
        maps = draw_crops(
            generators,
            self.steps,
            self.crops,
            size=self.crop_size,
            size_sd=self.crop_sd,
            centre_sd=self.centre_sd,
            picture=(height, width),
            window=(canvas.height, canvas.width),
        )
        return Ascent(
            self.steps,
            start,
            Phases((height, width), magnitudes),
            Adam(self.rate, nesterov=True),
            CropViews(maps.to(batch.device), canvas, 255 * self.noise, batch.shape[0], generators),
            patience=self.patience,
            keep_scored=True,
            importance=True,
        )

    def finish(self, result: AscentResult, batch: Batch) -> AscentResult:
        """The pictures with an opacity: how much each pixel mattered, the strongest fifth opaque."""
        return with_opacity(result, OPAQUE)


RECIPES = (Maco(),)
