"""Recipes that climb in a spectrum: `fourier`, `typical`, `accentuate`, `maco`."""

from __future__ import annotations

from dataclasses import dataclass

from viz.recipes.base import Recipe, ReluRule

__all__ = ["Accentuate", "Fourier", "Maco", "Typical"]


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

    @property
    def top_images(self) -> int:
        """One for each rendering."""
        return self.images


@dataclass(frozen=True, slots=True, kw_only=True)
class Typical(Fourier):
    """What the unit's top patches have in common: driven as they drive it, and like them.

    The picture starts from their mean, drives the unit as far as the best of them does, three
    times as far where it looks at the whole input, and no further. It is drawn to the means and
    deviations of their features, on the way to the layer and in a close-up of the patch: to their
    caricature, with what sets them apart from usual photographs exaggerated. See `viz.ascent.likeness`;
    bench/README.md has what each part does for how telling the picture is.

    Args:
        images: top patches that a rendering is to be like.
        clusters: renderings of a unit, each like a facet of so many times as many top patches.
        drive: weight of what is missing to the best patch's score.
        reach: share of that score to which the unit is driven.
        reach_whole: likewise, where the field is the whole input: what else a photograph shows
            is then most of its features, and only the drive says what the unit looks for.
        likeness: weight of the statistics on the way to the layer.
        close_up: weight of the statistics of the patch alone, enlarged; 0 is quicker.
        close_side: of that, in pixels.
        caricature: how many times as far from usual photographs the statistics should be as those
            of the top patches are; 1 is as far.
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
    reach_whole: float = 3.0
    likeness: float = 1.0
    close_up: float = 1.0
    close_side: int = 112
    caricature: float = 2.0
    contrast: float = 2.0
    smooth: float = 0.5

    def __post_init__(self) -> None:
        Fourier.__post_init__(self)
        self._require_positive("images", "clusters", "reach", "reach_whole")
        self._require_at_least_zero("drive", "likeness", "close_up", "contrast", "smooth")
        self._require_at_least_zero("caricature")
        self._require(self.close_side >= 32, "close_side", "32 or more")
        self._require(self.variety == 1, "variety", "1: ask for clusters instead")

    @property
    def renderings(self) -> int:
        """One for each cluster."""
        return self.clusters

    @property
    def top_images(self) -> int:
        """As many for each rendering."""
        return self.images * self.clusters


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
    def needs_index(self) -> bool:
        """For the mean spectrum."""
        return True

    @property
    def total_steps(self) -> int:
        """Number of gradient steps."""
        return self.steps
