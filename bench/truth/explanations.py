"""What the judge is shown of a layer: questions about its units, and what explains them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from bench.truth.judge import Judge
from bench.truth.patches import Patches
from pipeline.errors import UsageError
from viz.recipes.base import Recipe
from viz.render.table import Rendered

REAL = (1, 4, 9)
"""Top patches that explain a unit, for reference."""

ASKED = 6
"""Top images, and lowest ones, that a unit's questions are made of."""


@dataclass(frozen=True, slots=True)
class Explained:
    """The explanations of one kind in a layer.

    Args:
        kind: `real 4`, or a recipe.
        features: by unit, (picture, feature) of the judge.
        rows: of the renderings.
    """

    kind: str
    features: Mapping[int, Tensor]
    rows: tuple[Rendered, ...] = ()


def ask(patches: Patches, units: Sequence[int], judge: Judge) -> dict[int, tuple[Tensor, Tensor]]:
    """The questions of each unit: the judge's features of its top and of its lowest patches.

    Raises:
        UsageError: when there are too few images for twelve different ones.
    """
    asked = {}
    for unit in units:
        high, low = (patches.strongest(unit, ASKED, side) for side in ("high", "low"))
        if len({image.photograph for image in high + low}) < 2 * ASKED:
            raise UsageError(
                f"{patches.index.out} has too few photographs for questions about "
                f"{patches.layer.name} unit {unit}: {2 * ASKED} different ones are needed"
            )
        features = judge(patches.at_peaks(high + low))
        asked[unit] = (features[:ASKED], features[ASKED:])
    return asked


def explain(
    patches: Patches,
    units: Sequence[int],
    judge: Judge,
    rendered: Mapping[Recipe, list[Rendered]],
) -> Iterator[Explained]:
    """All explanations of a layer's units: real patches, then renderings by recipe."""
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
