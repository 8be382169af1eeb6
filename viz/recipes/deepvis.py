"""`deepvis`: plain gradient steps on pixels under four kinds of regularisation."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from viz.recipes.base import Recipe

if TYPE_CHECKING:
    from torch import Tensor

    from viz.ascent.history import AscentResult
    from viz.ascent.loop import Ascent
    from viz.inputs.batch import Batch

__all__ = ["RECIPES", "Deepvis"]

STRETCH_TO = 110.0
"""How far from the mean colour, on 0..255, the strongest pixels of a stretched picture are."""

STRETCH_QUANTILE = 0.995
"""Those pixels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deepvis(Recipe):
    """Yosinski et al. 2015: plain gradient steps on pixels with four kinds of regularisation.

    Args:
        steps: gradient steps.
        decay: share of its distance to the mean colour that a pixel loses in each step.
        sigma: standard deviation of the Gaussian blur, in pixels; 0 is none.
        blur_every: steps between two blurs.
        zero_norm: per cent of pixels, those nearest to the mean colour, that are set to it.
        zero_contribution: per cent of pixels, those that contribute least to the score, likewise.
        rate: of the gradient step; the largest, where progress is given.
        progress: when not 0, the rate is this over the gradient's squared norm.
        start_sd: standard deviation of the noise around the mean colour at the start, 0..255.
        stretch: raise the contrast of the last picture, as the paper does to show it.
    """

    name: str = "deepvis"
    steps: int = 500
    decay: float = 0.0
    sigma: float = 0.5
    blur_every: int = 4
    zero_norm: float = 50.0
    zero_contribution: float = 0.0
    rate: float = 100.0
    progress: float = 2.0
    start_sd: float = 10.0
    stretch: bool = True

    def __post_init__(self) -> None:
        Recipe.__post_init__(self)
        self._require_positive("steps", "blur_every", "rate")
        self._require_at_least_zero("sigma", "progress", "start_sd")
        self._require(0 <= self.decay < 1, "decay", "0 or more and below 1")
        self._require(0 <= self.zero_norm < 100, "zero_norm", "0 or more and below 100")
        share = self.zero_contribution
        self._require(0 <= share < 100, "zero_contribution", "0 or more and below 100")

    @property
    def total_steps(self) -> int:
        """Number of gradient steps."""
        return self.steps

    def ascent(self, batch: Batch) -> Ascent:
        """Steps on pixels around the mean colour."""
        from viz.ascent.loop import Ascent
        from viz.ascent.optimisers import DeepvisSteps
        from viz.ascent.parametrisation import Pixels
        from viz.pixels import noise

        mean = _mean_colour(batch)
        offsets = noise(batch.generators, batch.shape, 0.0, self.start_sd, clip=False).to(batch.device)
        optimiser = DeepvisSteps(
            mean,
            rate=self.rate,
            progress=self.progress,
            decay=self.decay,
            sigma=self.sigma,
            blur_every=self.blur_every,
            zero_norm=self.zero_norm,
            zero_contribution=self.zero_contribution,
        )
        return Ascent(self.steps, (offsets + mean).clamp(0, 255), Pixels(), optimiser)

    def finish(self, result: AscentResult, batch: Batch) -> AscentResult:
        """The last pictures with their contrast raised."""
        if not self.stretch:
            return result
        mean = _mean_colour(batch)
        return replace(result, pictures=mean + _stretched(result.pictures - mean))


RECIPES = (
    Deepvis(),
    Deepvis(name="deepvis-2", steps=750, decay=0.3, sigma=0, zero_norm=20, progress=0),
    Deepvis(name="deepvis-3", steps=1000, decay=0.0001, sigma=1.0, zero_norm=0, progress=0),
    Deepvis(name="deepvis-4", steps=1000, zero_norm=0, zero_contribution=90, rate=1e8),
)
"""The paper's four settings."""


def _mean_colour(batch: Batch) -> Tensor:
    """(1, channel, 1, 1) on 0..255."""
    from pipeline.networks.network import mean_colour

    return mean_colour(batch.inputs.network).to(batch.device).view(1, -1, 1, 1)


def _stretched(offsets: Tensor) -> Tensor:
    """Each picture's offsets from the mean colour, made as strong as they fit."""
    far = offsets.abs().flatten(1).quantile(STRETCH_QUANTILE, dim=1).clamp(min=1e-6)
    return offsets * (STRETCH_TO / far).clamp(min=1).view(-1, 1, 1, 1)
