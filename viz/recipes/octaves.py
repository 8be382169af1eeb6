"""`octaves`: normalised steps on pixels, under a blur, in a picture that grows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

from viz.choices import ReluRule
from viz.recipes.base import Recipe
from viz.recipes.option_text import Octave

if TYPE_CHECKING:
    from torch import Tensor

    from viz.ascent.loop import Ascent
    from viz.inputs.batch import Batch

__all__ = ["POST_OCTAVES", "RECIPES", "Octaves"]

POST_OCTAVES = (
    Octave(200, 1.0, (2.5, 1.1), (12.0, 10.0)),
    Octave(100, 1.0, (1.1, 0.858), (10.0, 8.0)),
    Octave(100, 1.05, (0.858, 0.78), (8.0, 6.0)),
    Octave(50, 1.05, (0.858, 0.40), (6.0, 1.5)),
    Octave(25, 1.05, (0.4, 0.3), (1.5, 0.5)),
)
"""The schedule of the post, for Caffe's GoogLeNet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Octaves(Recipe):
    """The post: normalised gradient steps on pixels, a decreasing blur, a growing picture.

    Args:
        start_mean: mean of the noise at the start, 0..255.
        start_sd: its standard deviation.
        octaves: iterations:scale:first sigma:last sigma:first step:last step of each octave.
        step_scale: factor on every step; the post has 1 for GoogLeNet and 0.25 for VGG-S;
            EfficientNet-Lite looks right from 0.25 to 1.
        steps: when not 0, the schedule's iterations are scaled to this total.
        jitter: spread of the random crop of an enlarged picture, as a fraction of the slack.
    """

    name: str = "octaves"
    relu: ReluRule = "leaky"
    start_mean: float = 250.0
    start_sd: float = 8.0
    octaves: tuple[Octave, ...] = POST_OCTAVES
    step_scale: float = 0.5
    steps: int = 0
    jitter: float = 0.3

    def __post_init__(self) -> None:
        Recipe.__post_init__(self)
        count = len(self.octaves)
        enough = self.steps == 0 or self.steps >= count
        self._require(enough, "steps", f"0 (the schedule's own) or at least {count}")
        self._require(0 <= self.start_mean <= 255, "start_mean", "0..255")
        self._require_at_least_zero("start_sd", "jitter")
        self._require_positive("step_scale")
        sound = all(each.iterations > 0 and each.scale >= 1 for each in self.octaves)
        self._require(sound, "octaves", "of 1 or more iterations and a scale of 1 or more each")

    @property
    def schedule(self) -> tuple[Octave, ...]:
        """The octaves with their iterations scaled to `steps`; each keeps at least one."""
        ends = list(accumulate(octave.iterations for octave in self.octaves))
        if self.steps in (0, ends[-1]):
            return self.octaves
        spare = self.steps - len(self.octaves)
        scaled = [round(spare * end / ends[-1]) for end in ends]
        counts = [1 + end - start for start, end in pairwise([0, *scaled])]
        return _with_iterations(self.octaves, counts)

    @property
    def total_steps(self) -> int:
        """Number of gradient steps."""
        return sum(octave.iterations for octave in self.schedule)

    @property
    def denoising(self) -> float:
        """Strength of total-variation denoising after each step; 0 is none."""
        return 0.0

    def sizes(self, size: tuple[int, int]) -> list[tuple[int, int]]:
        """Height and width of the picture in each octave, from those of the canvas."""
        growth, sizes = 1.0, []
        for octave in self.schedule:
            growth *= octave.scale
            sizes.append((round(size[0] * growth), round(size[1] * growth)))
        return sizes

    def ascent(self, batch: Batch) -> Ascent:
        """From noise."""
        from viz.pixels import noise

        return self._by_octaves(batch, noise(batch.generators, batch.shape, self.start_mean, self.start_sd))

    def _by_octaves(self, batch: Batch, start: Tensor, photographs: Tensor | None = None) -> Ascent:
        """From pictures of the canvas's size; photographs give back the detail that they lost."""
        from viz.ascent.loop import Ascent
        from viz.ascent.optimisers import BlurredSteps
        from viz.ascent.parametrisation import Pixels
        from viz.ascent.random_views import WindowViews
        from viz.ascent.view_maps import crop_offsets

        steps = self.total_steps
        firsts = accumulate((octave.iterations for octave in self.schedule[:-1]), initial=0)
        sizes = dict(zip(firsts, self.sizes(batch.canvas.size), strict=True))
        shares = crop_offsets(batch.generators, steps, self.jitter)
        lengths = [self.step_scale * length for octave in self.schedule for length in octave.steps]
        sigmas = [sigma for octave in self.schedule for sigma in octave.sigmas]
        return Ascent(
            steps,
            start,
            Pixels(sizes, photographs),
            BlurredSteps(lengths, sigmas, self.denoising),
            WindowViews(shares, batch.canvas),
        )


RECIPES = (Octaves(),)


def _with_iterations(octaves: Sequence[Octave], counts: Sequence[int]) -> tuple[Octave, ...]:
    return tuple(replace(octave, iterations=count) for octave, count in zip(octaves, counts, strict=True))
