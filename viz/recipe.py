"""Recipes: everything that decides how a rendering is made, as frozen data with published defaults.

    get_recipe("fourier", {"steps": "128"})

`octaves` climbs in pixels and enlarges the picture as it goes; `fourier` climbs in a decorrelated
frequency space. Options are the fields of the dataclasses; what each default comes from stands
beside it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from itertools import accumulate, pairwise
from typing import Any, Literal, get_args, get_type_hints

from pipeline.errors import RenderError, did_you_mean
from viz.options import Octave, read_option, write_option

__all__ = [
    "RECIPES",
    "RULES",
    "Fourier",
    "Octave",
    "Octaves",
    "Recipe",
    "ReluRule",
    "describe_recipe",
    "get_recipe",
    "recipe_fingerprint",
    "summarise_recipe",
]

ReluRule = Literal["plain", "leaky", "redirected", "deconvnet", "guided"]
"""What every ReLU does during a climb; see `viz.relu`."""

RULES: tuple[ReluRule, ...] = get_args(ReluRule)
"""All rules, `plain` first."""

RENDERER_VERSION = 1
"""Raised when the same recipe would give another image, so that old renderings are not reused."""


def _require(holds: bool, recipe: Recipe, option: str, expected: str) -> None:
    if not holds:
        found = write_option(getattr(recipe, option))
        raise RenderError(f"recipe {recipe.name}: {option} must be {expected}, got {found}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What all recipes share.

    Args:
        name: as in `RECIPES`.
        relu: rule that every ReLU follows while the image climbs (never when it is measured).
        relu_steps: the rule holds for this many steps, then the network is plain; 0 means always.
        keep: save the image of the last step, or of the step that scored best.
    """

    name: str
    relu: ReluRule = "plain"
    relu_steps: int = 0
    keep: Literal["last", "best"] = "last"

    def __post_init__(self) -> None:
        _require(self.relu in RULES, self, "relu", f"one of {', '.join(RULES)}")
        _require(self.relu_steps >= 0, self, "relu_steps", "0 or more")
        _require(self.keep in ("last", "best"), self, "keep", "last or best")

    @property
    def total_steps(self) -> int:
        """Number of gradient steps."""
        raise NotImplementedError


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
    """The post: normalised gradient steps on pixels, a shrinking blur, a growing picture.

    Args:
        start_mean: of the start image's noise, 0..255.
        start_sd: likewise.
        octaves: the schedule.
        step_scale: factor on every step; 1 for GoogLeNet, 0.25 for VGG-S and EfficientNet-Lite.
        steps: when not 0, the schedule's iterations are scaled to this total.
        jitter: spread of the random crop of an enlarged picture, as a fraction of the slack.
    """

    name: str = "octaves"
    relu: ReluRule = "leaky"
    start_mean: float = 250.0
    start_sd: float = 8.0
    octaves: tuple[Octave, ...] = POST_OCTAVES
    step_scale: float = 0.25
    steps: int = 0
    jitter: float = 0.3

    def __post_init__(self) -> None:
        Recipe.__post_init__(self)
        enough = self.steps == 0 or self.steps >= len(self.octaves)
        _require(enough, self, "steps", f"0 (the schedule's own) or at least {len(self.octaves)}")
        _require(self.step_scale > 0, self, "step_scale", "above 0")
        _require(self.start_sd >= 0, self, "start_sd", "0 or more")
        _require(0 <= self.start_mean <= 255, self, "start_mean", "0..255")
        _require(self.jitter >= 0, self, "jitter", "0 or more")
        _require(bool(self.octaves), self, "octaves", "at least one octave")

    @property
    def schedule(self) -> tuple[Octave, ...]:
        """The octaves with their iterations scaled to `steps`; each keeps at least one."""
        published = sum(octave.iterations for octave in self.octaves)
        if self.steps in (0, published):
            return self.octaves
        spare = self.steps - len(self.octaves)
        ends = [round(spare * done / published) for done in self._iterations_done()]
        counts = [1 + end - start for start, end in pairwise([0, *ends])]
        return tuple(
            replace(octave, iterations=count)
            for octave, count in zip(self.octaves, counts, strict=True)
        )

    def _iterations_done(self) -> list[int]:
        """Iterations of the published schedule at the end of each octave."""
        return list(accumulate(octave.iterations for octave in self.octaves))

    @property
    def total_steps(self) -> int:
        """Number of gradient steps."""
        return sum(octave.iterations for octave in self.schedule)


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

    def __post_init__(self) -> None:
        Recipe.__post_init__(self)
        _require(self.steps >= 1, self, "steps", "1 or more")
        _require(self.rate > 0, self, "rate", "above 0")
        _require(self.start_sd >= 0, self, "start_sd", "0 or more")
        _require(min(self.jitter) >= 1, self, "jitter", "1 or more, twice (1 is no jitter)")
        low, high, spacing = self.scale
        _require(0 < low <= high and spacing > 0, self, "scale", "lowest:highest:spacing, above 0")
        _require(0 <= self.rotate <= 180, self, "rotate", "0..180 degrees")
        _require(self.rotate_zeros >= 0, self, "rotate_zeros", "0 or more")

    @property
    def total_steps(self) -> int:
        """Number of gradient steps."""
        return self.steps


RECIPES: Mapping[str, Recipe] = {"fourier": Fourier(), "octaves": Octaves()}
"""The recipes by name, with their defaults."""


def get_recipe(name: str, options: Mapping[str, str] | None = None) -> Recipe:
    """A recipe with some options set.

    Args:
        name: one of `RECIPES`.
        options: field names to values as written on the command line; parts of a tuple are
            separated by colons, octaves by commas (`iterations:scale:sigma:sigma:step:step`).

    Raises:
        RenderError: for an unknown recipe or option, or a value that does not fit.
    """
    if name not in RECIPES:
        raise RenderError(
            f"unknown recipe {name!r}; expected one of {', '.join(sorted(RECIPES))}"
            f"{did_you_mean(name, RECIPES)}"
        )
    recipe = RECIPES[name]
    kinds = _options(recipe)
    changes: dict[str, Any] = {}
    for key, text in (options or {}).items():
        if key not in kinds:
            raise RenderError(
                f"recipe {name} has no option {key!r}; it has {', '.join(kinds)}"
                f"{did_you_mean(key, kinds)}"
            )
        changes[key] = read_option(text, kinds[key], f"recipe {name}: option {key}")
    return replace(recipe, **changes)


def describe_recipe(recipe: Recipe) -> list[tuple[str, str, str]]:
    """Name, value and meaning of each option, the value written as `get_recipe` reads it."""
    meanings = _meanings(Recipe) | _meanings(type(recipe))
    return [
        (key, write_option(getattr(recipe, key)), meanings.get(key, "")) for key in _options(recipe)
    ]


def _meanings(kind: type[Recipe]) -> dict[str, str]:
    """What the `Args:` of a recipe's docstring say of each option, on one line."""
    _, _, described = (kind.__doc__ or "").partition("Args:")
    entries = re.findall(r"^ +(\w+): (.*(?:\n {9,}.*)*)", described, flags=re.MULTILINE)
    return {key: re.sub(r"\s+", " ", text) for key, text in entries}


def summarise_recipe(recipe: Recipe) -> str:
    """The first line of a recipe's description, and its number of steps."""
    first = (type(recipe).__doc__ or "").partition("\n")[0]
    return f"{first} {recipe.total_steps:,} steps."


def recipe_fingerprint(recipe: Recipe, **context: object) -> str:
    """SHA-256, in hexadecimal, of a recipe and of whatever else decides the image."""
    whole = {"recipe": asdict(recipe), "renderer": RENDERER_VERSION, **context}
    return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()


def _options(recipe: Recipe) -> dict[str, Any]:
    """Field names to types, without the name."""
    hints = get_type_hints(type(recipe))
    return {field.name: hints[field.name] for field in fields(recipe) if field.name != "name"}
