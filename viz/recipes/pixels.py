"""Recipes that climb in pixels: `octaves`, `facets`, `dream`, `deepvis`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise

from viz.recipes.base import Recipe, ReluRule
from viz.recipes.option_text import Octave

__all__ = ["POST_OCTAVES", "Deepvis", "Dream", "Facets", "Octaves"]

POST_OCTAVES = (
    Octave(200, 1.0, (2.5, 1.1), (12.0, 10.0)),
    Octave(100, 1.0, (1.1, 0.858), (10.0, 8.0)),
    Octave(100, 1.05, (0.858, 0.78), (8.0, 6.0)),
    Octave(50, 1.05, (0.858, 0.40), (6.0, 1.5)),
    Octave(25, 1.05, (0.4, 0.3), (1.5, 0.5)),
)
"""The schedule of the post, for Caffe's GoogLeNet."""

FACET_OCTAVES = (
    Octave(100, 1.0, (1.1, 0.6), (10.0, 6.0)),
    Octave(60, 1.05, (0.6, 0.4), (6.0, 3.0)),
    Octave(40, 1.05, (0.4, 0.0), (3.0, 0.5)),
)
"""Shorter than the post's: the start already shows the large shapes."""

DREAM_OCTAVES = (
    Octave(10, 1.0, (0.0, 0.0), (1.5, 1.5)),
    Octave(20, 1.4, (0.0, 0.0), (1.5, 1.5)),
    Octave(40, 1.4, (0.0, 0.0), (1.5, 1.5)),
)
"""Scale 1.4, steps of 1.5 and 10 iterations as in Google's DeepDream notebook; larger octaves get
more, because a step paints one window of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Octaves(Recipe):
    """The post: normalised gradient steps on pixels, a shrinking blur, a growing picture.

    Args:
        start_mean: of the start image's noise, 0..255.
        start_sd: likewise.
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


def _with_iterations(octaves: Sequence[Octave], counts: Sequence[int]) -> tuple[Octave, ...]:
    return tuple(replace(octave, iterations=count) for octave, count in zip(octaves, counts, strict=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class Facets(Octaves):
    """Multifaceted: one rendering from the mean of each cluster of the unit's top images.

    Nguyen, Yosinski and Clune 2016. The images are clustered by the network's penultimate
    features; total variation keeps the start's smoothness.

    Args:
        clusters: renderings of a unit; fewer where it has too few top images.
        nearest: images around each centre whose mean is the start.
        components: of the principal component analysis before the clustering.
        variation: strength of the total-variation denoising after each step, 0..255; 0 is none.
    """

    name: str = "facets"
    octaves: tuple[Octave, ...] = FACET_OCTAVES
    clusters: int = 4
    nearest: int = 15
    components: int = 50
    variation: float = 1.0

    def __post_init__(self) -> None:
        Octaves.__post_init__(self)
        self._require_positive("clusters", "nearest", "components")
        self._require_at_least_zero("variation")

    @property
    def renderings(self) -> int:
        """One for each cluster."""
        return self.clusters

    @property
    def top_images(self) -> None:
        """All, as they are sorted."""
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Dream(Octaves):
    """DeepDream: a given photograph, enlarged by octaves, that shows more of what a unit sees.

    Args:
        detail: give back the photograph's own detail whenever the picture is enlarged.
    """

    name: str = "dream"
    relu: ReluRule = "plain"
    octaves: tuple[Octave, ...] = DREAM_OCTAVES
    step_scale: float = 1.0
    jitter: float = 0.5
    detail: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Deepvis(Recipe):
    """Yosinski et al. 2015: plain gradient steps on pixels with four kinds of regularisation.

    Args:
        steps: gradient steps.
        decay: the picture goes this much of the way to the mean colour in each step.
        sigma: of the Gaussian blur, in pixels; 0 is none.
        blur_every: steps between two blurs.
        zero_norm: per cent of pixels, those nearest to the mean colour, that become it.
        zero_contribution: per cent of pixels, those whose change matters least, likewise.
        rate: of the gradient step; the largest, where progress is given.
        progress: when not 0, the rate is this over the gradient's squared norm.
        start_sd: of the noise around the mean colour at the start, 0..255.
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
