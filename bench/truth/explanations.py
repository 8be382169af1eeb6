"""What the judge sees of a layer: questions about its units, and explanations of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from bench.truth.judge import Judge
from viz.recipes.base import Recipe
from viz.render.table import Rendered
from viz.study.patches import Patches
from viz.study.questions import ASKED, choose_questions

REAL = (1, 4, 9)
"""Numbers of top patches that are used as explanations, for reference."""


@dataclass(frozen=True, slots=True)
class Explained:
    """The explanations of one kind in a layer.

    Args:
        kind: `real 4`, or a recipe.
        features: by unit, (picture, feature) of the judge.
        rows: the renderings' rows of the table.
    """

    kind: str
    features: Mapping[int, Tensor]
    rows: tuple[Rendered, ...] = ()


def ask(patches: Patches, units: Sequence[int], judge: Judge) -> dict[int, tuple[Tensor, Tensor]]:
    """Compute the questions about each unit: the judge's features of its top and lowest patches.

    Raises:
        UsageError: if the index has fewer than twelve different photographs for a unit.
    """
    asked = {}
    for unit in units:
        questions = choose_questions(patches, unit)
        features = judge(patches.at_peaks([*questions.high, *questions.low]))
        asked[unit] = (features[:ASKED], features[ASKED:])
    return asked


def explain(
    patches: Patches,
    units: Sequence[int],
    judge: Judge,
    rendered: Mapping[Recipe, list[Rendered]],
) -> Iterator[Explained]:
    """Yield all explanations of a layer's units: real patches, then the renderings of each recipe."""
    most = max(REAL)
    real = {unit: judge(patches.at_peaks(patches.strongest(unit, most))) for unit in units}
    for count in REAL:
        yield Explained(f"real {count}", {unit: found[:count] for unit, found in real.items()})
    for recipe, rows in rendered.items():
        features = judge([patches.of_rendering(row, recipe) for row in rows])
        by_unit = {
            unit: features[[row.unit == unit for row in rows]]
            for unit in dict.fromkeys(row.unit for row in rows)
        }
        yield Explained(recipe.name, by_unit, tuple(rows))
