"""`vital`: the sorted features of a unit's top patches, weighted by relevance."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from viz.choices import Relevance, Source
from viz.recipes.base import Recipe
from viz.recipes.patches import field_canvas, windows

if TYPE_CHECKING:
    from pipeline.layers.layer import Layer
    from viz.ascent.loop import Ascent
    from viz.canvas import Canvas
    from viz.inputs.batch import Batch
    from viz.inputs.inputs import Inputs
    from viz.objectives.objective import Objective

__all__ = ["RECIPES", "Vital"]

MOMENTS = (0.5, 0.9)
"""Decay of Adam's moments, those of the published code."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vital(Recipe):
    """VITAL (Gorgun et al. 2025): features distributed as in the unit's top patches, weighted by relevance.

    Sorted values of every channel, in the last blocks of the stages before the unit's layer, are drawn to
    the mean of those of the patches. Adam on pixels that start as noise. See `viz.ascent.alignment`.

    Args:
        steps: gradient steps.
        images: top patches whose features are aligned with; fewer, where the index has fewer.
        rate: largest learning rate of Adam, in standard deviations of the network's normalisation.
        warm_up: steps in which the rate rises to its largest; then it falls along a cosine.
        jitter: largest shift of the picture in a circle, in pixels, both ways.
        start_sd: standard deviation of the noise at the start, in those of the normalisation.
        relevance: `off` counts all channels alike.
    """

    source: ClassVar[Source | None] = "index"
    activates: ClassVar[bool] = False

    name: str = "vital"
    steps: int = 2000
    images: int = 50
    rate: float = 1.0
    warm_up: int = 100
    jitter: int = 30
    start_sd: float = 1.0
    relevance: Relevance = "on"

    def __post_init__(self) -> None:
        Recipe.__post_init__(self)
        self._require_positive("steps", "images", "rate")
        self._require_at_least_zero("warm_up", "jitter", "start_sd")

    @property
    def total_steps(self) -> int:
        """Number of gradient steps."""
        return self.steps

    @property
    def top_images(self) -> int:
        """As many as `images`."""
        return self.images

    def canvas(self, inputs: Inputs, layer: Layer, objective: Objective) -> Canvas:
        """A window around the effective receptive field.

        Raises:
            RenderError: for an objective without top images in the index.
        """
        return field_canvas(self.name, inputs, layer, objective)

    def ascent(self, batch: Batch) -> Ascent:
        """Adam on pixels that are shifted in a circle."""
        from pipeline.networks.network import mean_colour
        from viz.ascent.alignment import Alignment
        from viz.ascent.loop import Ascent
        from viz.ascent.optimisers import Adam
        from viz.ascent.parametrisation import Pixels
        from viz.ascent.random_views import RolledViews
        from viz.ascent.view_maps import draw_rolls
        from viz.pixels import noise

        network, layer = batch.inputs.network, batch.layer
        deviation = sum(network.preprocess.std) / len(network.preprocess.std)
        offsets = noise(batch.generators, batch.shape, 0.0, self.start_sd * deviation, clip=False)
        start = (mean_colour(network).view(1, -1, 1, 1) + offsets).clamp(0, 255)
        shifts = draw_rolls(batch.generators, self.steps, self.jitter)
        before = [each for each in batch.inputs.statistics_layers(layer)[0] if each.name != layer.name]
        patches = [windows(top, batch.canvas) for top in batch.top_images]
        return Ascent(
            self.steps,
            start.to(batch.device),
            Pixels(),
            Adam([each * deviation for each in self.rates], moments=MOMENTS, bounds=(0, 255)),
            RolledViews(shifts),
            Alignment(layer, before or [layer], batch.canvas, patches, self.relevance),
        )

    @property
    def rates(self) -> list[float]:
        """Of each step: a linear rise, then a cosine."""
        rise, fall = min(self.warm_up, self.steps), max(1, self.steps - self.warm_up)
        rising = [(step + 1) / (rise + 1) for step in range(rise)]
        falling = [0.5 * (1 + math.cos(math.pi * step / fall)) for step in range(self.steps - rise)]
        return [self.rate * share for share in (*rising, *falling)]


RECIPES = (Vital(),)
