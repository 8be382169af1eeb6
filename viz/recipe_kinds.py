"""The kinds of recipes: frozen options with their published defaults, and what they accept.

    Recipe
    ├── Octaves      climbs in pixels, blurs, enlarges
    │   ├── Facets   starts from the mean of a cluster of the unit's top images
    │   └── Dream    starts from a photograph
    ├── Deepvis      climbs in pixels under decay, blur and clipping of weak pixels
    ├── Fourier      climbs in a decorrelated spectrum under random views
    │   ├── Accentuate   starts from a top image and stays near it in feature space
    │   └── Typical      is driven as far as the best image, and drawn to what top patches are like
    ├── Maco         climbs in the phases of a spectrum whose magnitudes are the dataset's
    └── Latent       climbs in the code of a generator

What each option means and where its default comes from stands in the `Args` of its class, from
where `maxact recipes NAME` prints it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from typing import Literal, get_args

from pipeline.errors import RenderError
from viz.options import Octave, write_option

__all__ = [
    "POST_OCTAVES",
    "RULES",
    "Accentuate",
    "Deepvis",
    "Dream",
    "Facets",
    "Fourier",
    "Latent",
    "Maco",
    "Octaves",
    "Recipe",
    "ReluRule",
    "Typical",
]

ReluRule = Literal["plain", "leaky", "redirected", "deconvnet", "guided"]
"""What every ReLU does during a climb; see `viz.relu`."""

RULES: tuple[ReluRule, ...] = get_args(ReluRule)
"""All rules, `plain` first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What all recipes share.

    Args:
        name: in the table of renderings.
        relu: rule that every ReLU follows while the image climbs (never when it is measured).
        relu_steps: the rule holds for this many steps, then the network is plain; 0 means always.
        keep: save the image of the last step, or of the step that scored best.
    """

    name: str
    relu: ReluRule = "plain"
    relu_steps: int = 0
    keep: Literal["last", "best"] = "last"

    def __post_init__(self) -> None:
        self._require(self.relu in RULES, "relu", f"one of {', '.join(RULES)}")
        self._require(self.relu_steps >= 0, "relu_steps", "0 or more")
        self._require(self.keep in ("last", "best"), "keep", "last or best")

    @property
    def total_steps(self) -> int:
        """Number of gradient steps."""
        raise NotImplementedError

    @property
    def renderings(self) -> int:
        """How many renderings a unit gets."""
        return 1

    def _require(self, holds: bool, option: str, expected: str) -> None:
        if not holds:
            found = write_option(getattr(self, option))
            raise RenderError(f"recipe {self.name}: {option} must be {expected}, got {found}")

    def _require_positive(self, *options: str) -> None:
        for option in options:
            self._require(getattr(self, option) > 0, option, "above 0")

    def _require_at_least_zero(self, *options: str) -> None:
        for option in options:
            self._require(getattr(self, option) >= 0, option, "0 or more")


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
    return tuple(
        replace(octave, iterations=count) for octave, count in zip(octaves, counts, strict=True)
    )


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Fourier(Recipe):
    """Lucid: Adam on a decorrelated spectrum, under random jitter, scale and rotation, on grey.

    Args:
        steps: 128 in Lucid's neuron recipe; 512 in its notebooks.
        rate: of Adam.
        start_sd: of the spectrum's coefficients.
        decay: power of 1/frequency that scales them.
        jitter: widths in pixels of the first and the last random shift.
        scale: smallest, largest and spacing of the random scale.
        rotate: largest angle in degrees; whole degrees are drawn.
        rotate_zeros: extra chances of no rotation among the angles.
        patience: a picture is finished when its score has not risen for this many steps; 0: never.
        variety: renderings of a unit that are driven apart from each other.
        variety_weight: of their likeness (cosine of Gram matrices) against the score.
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
        self._require(alone, "patience", "0 where renderings are driven apart from each other")

    @property
    def total_steps(self) -> int:
        """Number of gradient steps."""
        return self.steps

    @property
    def renderings(self) -> int:
        """One, or as many as are driven apart."""
        return self.variety


@dataclass(frozen=True, slots=True, kw_only=True)
class Accentuate(Fourier):
    """Feature accentuation: a top image, changed to drive the unit more while it stays itself.

    Hamblin et al. 2023; the picture's features at the unit's own layer are held near.

    Args:
        images: renderings of a unit, one from each of its top images.
        near: weight of the distance in feature space, in units of the start's score.
    """

    name: str = "accentuate"
    steps: int = 100
    rate: float = 0.02
    images: int = 1
    near: float = 1.0

    def __post_init__(self) -> None:
        Fourier.__post_init__(self)
        self._require_positive("images")
        self._require_at_least_zero("near")
        self._require(self.variety == 1, "variety", "1: each image has its own start")

    @property
    def renderings(self) -> int:
        """One for each top image."""
        return self.images


@dataclass(frozen=True, slots=True, kw_only=True)
class Typical(Fourier):
    """What the unit's top patches have in common: driven as they drive it, and like them.

    The picture starts from their mean, drives the unit as far as the best of them does and no
    further, and is drawn to the means and deviations of their features, on the way to the layer
    and in a close-up of the patch. See `viz.likeness`; bench/README.md has what each part does for
    how telling the picture is.

    Args:
        images: top patches that a rendering is to be like.
        clusters: renderings of a unit, each like a facet of so many times as many top patches.
        drive: weight of what is missing to the best patch's score.
        reach: share of that score to which the unit is driven.
        likeness: weight of the statistics on the way to the layer.
        close_up: weight of the statistics of the patch alone, enlarged; 0 is quicker.
        close_side: of that, in pixels.
        contrast: of the mean patch that is the start; 1 leaves it as grey as means are.
        smooth: sigma of the blur of the finished picture, in pixels.
    """

    name: str = "typical"
    relu: ReluRule = "plain"
    relu_steps: int = 0
    steps: int = 96
    rate: float = 0.03
    images: int = 9
    clusters: int = 1
    drive: float = 1.0
    reach: float = 1.0
    likeness: float = 1.0
    close_up: float = 1.0
    close_side: int = 112
    contrast: float = 2.0
    smooth: float = 0.5

    def __post_init__(self) -> None:
        Fourier.__post_init__(self)
        self._require_positive("images", "clusters", "reach")
        self._require_at_least_zero("drive", "likeness", "close_up", "contrast", "smooth")
        self._require(self.close_side >= 32, "close_side", "32 or more")
        self._require(self.variety == 1, "variety", "1: ask for clusters instead")

    @property
    def renderings(self) -> int:
        """One for each cluster."""
        return self.clusters


@dataclass(frozen=True, slots=True, kw_only=True)
class Maco(Recipe):
    """Fel et al. 2023: only phases climb; magnitudes are the mean spectrum of the dataset.

    Args:
        steps: gradient steps.
        rate: of NAdam.
        crops: of the picture in each step.
        crop_size: share of the picture's side that a crop shows, first and last.
        crop_sd: standard deviation of that share; it stays in 0.05..1.
        centre_sd: of a crop's centre, which lies around the picture's.
        noise: standard deviation on 0..1 of what is added to a crop, with uniform noise of half.
        enlarge: side of the picture, in sides of what the network is shown.
        images: of the dataset, whose mean spectrum is taken.
        patience: a picture is finished when its score has not risen for this many steps; 0: never.
    """

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Latent(Recipe):
    """DGN-AM (Nguyen et al. 2016): the code of a generator climbs, see `maxact prior train`.

    Args:
        steps: gradient steps.
        step: mean absolute change of a code unit in the first and the last step.
        shrink: factor on the code after each step.
        start_sd: standard deviation of the start.
        patience: a picture is finished when its score has not risen for this many steps; 0: never.
    """

    name: str = "prior"
    steps: int = 200
    step: tuple[float, float] = (8.0, 0.0)
    shrink: float = 0.99
    start_sd: float = 1.0
    patience: int = 0

    def __post_init__(self) -> None:
        Recipe.__post_init__(self)
        self._require_positive("steps")
        self._require_at_least_zero("start_sd", "patience")
        self._require(min(self.step) >= 0, "step", "0 or more, first:last")
        self._require(0 < self.shrink <= 1, "shrink", "above 0 and at most 1")

    @property
    def total_steps(self) -> int:
        """Number of gradient steps."""
        return self.steps
