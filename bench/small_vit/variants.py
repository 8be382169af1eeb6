"""What is compared: recipes with their settings, by the names of their rows."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from bench.small_vit.augmented import Augmented
from viz.recipes.base import Recipe
from viz.recipes.catalog import get_recipe


@dataclass(frozen=True, slots=True)
class Variant:
    """One row.

    Args:
        title: of the row.
        recipe: with a name of its own, since renderings of the same recipe replace each other.
        objective: as `maxact render` takes it.
        constant_pattern: without gradients through attention patterns.
    """

    title: str
    recipe: Recipe
    objective: str = "point"
    constant_pattern: bool = False


PLAIN = {"scale": (1.0, 1.0, 0.1), "rotate": 0}
"""Options without scale and rotation."""

AUGMENTED = {
    "no random views": {**PLAIN, "jitter": (1, 1)},
    "jitter by whole patches": {"aligned": True},
    "jitter only": PLAIN,
    "jitter 16:8": {"jitter": (16, 8)},
    "512 steps, rate 0.02": {"steps": 512, "rate": 0.02},
    "decay 1.5": {"decay": 1.5},
    "variation 0.1": {"variation": 0.1},
    "variation 0.3": {"variation": 0.3},
    "variation 1": {"variation": 1.0},
    "colour": {"colour": 1.0},
    "noise that falls": {"noise": 0.5},
    "constant noise": {"noise": 0.5, "noise_falls": False},
    "colour, noise, variation 0.3": {"colour": 1.0, "noise": 0.5, "variation": 0.3},
    "4 views": {"copies": 4},
    "4 views, colour, noise, variation 0.3": {"copies": 4, "colour": 1.0, "noise": 0.5, "variation": 0.3},
}
"""Options of `Augmented` that differ from `fourier`."""

BUILT_IN = {
    "typical": {},
    "typical, likeness 0": {"likeness": "0", "close_up": "0"},
    "maco": {"steps": "128", "crops": "8"},
    "maco, larger crops": {"steps": "128", "crops": "8", "crop_size": "1:0.5", "centre_sd": "0.05"},
}
"""Other recipes, with options as the command line takes them; `maco` with an eighth of its budget."""


def all_variants() -> list[Variant]:
    """Every row, in order."""
    made = [Variant("fourier", _fourier("fourier"))]
    for changed, options in AUGMENTED.items():
        title = f"fourier, {changed}"
        made.append(Variant(title, _fourier(title, **options)))
    title = "fourier, mean over positions"
    made.append(Variant(title, _fourier(title), objective="channel"))
    title = "fourier, patterns constant"
    made.append(Variant(title, _fourier(title), constant_pattern=True))
    for title, settings in BUILT_IN.items():
        recipe = get_recipe(title.partition(",")[0], settings)
        made.append(Variant(title, replace(recipe, name=_slug(title))))
    return made


def _fourier(title: str, **options: object) -> Augmented:
    return Augmented(name=_slug(title), **options)  # type: ignore[arg-type]


def _slug(title: str) -> str:
    return re.sub("[^a-z0-9.]+", "-", title)
