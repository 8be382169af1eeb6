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

from dataclasses import dataclass

from viz.recipes.base import RULES, Recipe, ReluRule
from viz.recipes.pixels import POST_OCTAVES, Deepvis, Dream, Facets, Octaves
from viz.recipes.spectrum import Accentuate, Fourier, Maco, Typical

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
