"""`fourier`: Adam on a decorrelated spectrum under random views."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from viz.choices import ReluRule
from viz.recipes.base import Recipe

if TYPE_CHECKING:
    from torch import Tensor

    from pipeline.layers.layer import Layer
    from viz.ascent.loop import Ascent
    from viz.ascent.optimisers import Optimiser
    from viz.ascent.score_terms import ScoreTerm
    from viz.canvas import Canvas
    from viz.inputs.batch import Batch
    from viz.inputs.inputs import Inputs
    from viz.objectives.objective import Objective

__all__ = ["RECIPES", "Fourier"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fourier(Recipe):
    """Lucid: Adam on a decorrelated spectrum, under random shifts, scales and rotations.

    Args:
        steps: gradient steps; Lucid's neuron recipe has 128, its notebooks 512.
        rate: learning rate of Adam.
        start_sd: standard deviation of the spectrum's coefficients at the start.
        decay: power of 1/frequency by which the coefficients are scaled.
        jitter: widths in pixels of the first and the last random shift.
        scale: smallest, largest and spacing of the random scale.
        rotate: largest angle of the random rotation, in whole degrees.
        rotate_zeros: extra entries of 0 among the angles that are drawn from.
        patience: stop a picture whose score has not risen for this many steps; 0: never.
        variety: renderings of a unit, with a score term for their diversity.
        variety_weight: weight of that term, the cosine similarity of Gram matrices.
    """

    name: str = "fourier"
    relu: ReluRule = "redirected"
    relu_steps: int = 16
    steps: int = 128
    rate: float = 0.05
    start_sd: float = 0.01
    decay: float = 1.0
    jitter: tuple[int, int] = (8, 4)
    scale: tuple[float, float, float] = (0.90, 1.10, 0.02)
    rotate: int = 10
    rotate_zeros: int = 5
    patience: int = 0
    variety: int = 1
    variety_weight: float = 0.5

    def __post_init__(self) -> None:
        Recipe.__post_init__(self)
        self._require_positive("steps", "rate")
        self._require_at_least_zero("start_sd", "rotate_zeros", "patience", "variety_weight")
        self._require(min(self.jitter) >= 1, "jitter", "1 or more, twice (1 is no jitter)")
        low, high, spacing = self.scale
        sound = 0 < low <= high and spacing > 0
        self._require(sound, "scale", "lowest:highest:spacing, above 0")
        self._require(0 <= self.rotate <= 180, "rotate", "0..180 degrees")
        self._require(1 <= self.variety <= 8, "variety", "1..8")
        alone = self.variety == 1 or self.patience == 0
        self._require(alone, "patience", "0 where variety is above 1")

    @property
    def total_steps(self) -> int:
        """Number of gradient steps."""
        return self.steps

    @property
    def renderings(self) -> int:
        """As many as are asked for by `variety`."""
        return self.variety

    @property
    def group(self) -> int:
        """All renderings of a unit: each has a term for its similarity to the others."""
        return self.variety

    @property
    def compares_features(self) -> bool:
        """Whether a score term reads all of the layer's map, not only what the objective reads."""
        return self.variety > 1

    def canvas(self, inputs: Inputs, layer: Layer, objective: Objective) -> Canvas:
        """The window of the objective, with a margin for the random views."""
        from viz.planning.plan import plan_canvas

        exact = plan_canvas(inputs.network, objective, whole_layer=self.compares_features)
        return self._with_margin(exact)

    def _with_margin(self, canvas: Canvas) -> Canvas:
        from viz.ascent.view_maps import reach

        half = max(canvas.height, canvas.width) / 2
        furthest = reach(half, jitter=self.jitter, scale=self.scale, rotate=self.rotate)
        return canvas.with_margin(furthest - int(half))

    def ascent(self, batch: Batch) -> Ascent:
        """Adam on a spectrum, one random view of each picture a step."""
        from viz.ascent.loop import Ascent
        from viz.ascent.parametrisation import Spectrum
        from viz.ascent.random_views import AffineViews
        from viz.ascent.view_maps import draw_affine

        start = self.start(batch)
        maps = draw_affine(
            batch.generators,
            self.steps,
            jitter=self.jitter,
            scale=self.scale,
            rotate=self.rotate,
            rotate_zeros=self.rotate_zeros,
        )
        return Ascent(
            self.steps,
            start,
            Spectrum(batch.canvas.size, self.decay),
            self.optimiser(),
            AffineViews(maps.to(batch.device), batch.canvas),
            self.score_term(batch),
            self.patience,
        )

    def optimiser(self) -> Optimiser:
        """Adam, at one rate."""
        from viz.ascent.optimisers import Adam

        return Adam(self.rate)

    def start(self, batch: Batch) -> Tensor:
        """Spectra at the start: noise."""
        from viz.ascent.spectrum import spectrum_noise

        return spectrum_noise(batch.generators, batch.shape, self.start_sd)

    def score_term(self, batch: Batch) -> ScoreTerm | None:
        """Diversity, where a unit gets several renderings."""
        from viz.ascent.score_terms import Diversity

        if self.variety == 1:
            return None
        return Diversity(batch.layer.name, self.variety_weight, self.variety)


RECIPES = (Fourier(),)
