"""The conditions of a study: what is shown of a unit beside the two photographs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.errors import UsageError, did_you_mean
from viz.recipes.base import Recipe
from viz.study.questions import MOST

__all__ = ["CONDITIONS", "Condition", "choose_conditions"]

CONDITIONS = {"synthetic": None, "real": MOST, "real1": 1, "real4": 4, "none": 0}
"""Words of `--reference`, with the number of top patches; None: renderings."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition.

    Args:
        name: as in the tables of `python -m bench.truth`: a recipe, `real 4` or `none`.
        patches: number of top patches; None: the renderings of the recipe.
    """

    name: str
    patches: int | None


def choose_conditions(words: Sequence[str], recipe: Recipe) -> tuple[Condition, ...]:
    """Parse the words of `--reference`.

    Raises:
        UsageError: for a word that is none, or is there twice.
    """
    conditions = []
    for word in words:
        if word not in CONDITIONS:
            hint = did_you_mean(word, CONDITIONS) or f"; there are {', '.join(CONDITIONS)}"
            raise UsageError(f"--reference has no word {word!r}{hint}")
        if words.count(word) > 1:
            raise UsageError(f"--reference names {word} twice")
        patches = CONDITIONS[word]
        name = recipe.name if patches is None else f"real {patches}" if patches else "none"
        conditions.append(Condition(name, patches))
    if len({condition.name for condition in conditions}) < len(conditions):
        raise UsageError(f"a recipe must not be called {recipe.name}, like another condition; rename it")
    if not conditions:
        raise UsageError(f"--reference is empty; give some of {', '.join(CONDITIONS)}")
    return tuple(conditions)
