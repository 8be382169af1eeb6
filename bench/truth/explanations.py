"""What judges are shown of a layer: questions about its units, and explanations of them."""

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

MORE = 10
"""Top patches of one more row where renderings are shown beside nine, for comparison."""


@dataclass(frozen=True, slots=True)
class Explained:
    """The explanations of one kind in a layer.

    Args:
        kind: `real 4`, a recipe, or both.
        pictures: by unit, each (channel, y, x) uint8.
        rows: the renderings' rows of the table.
        patches: number of real patches that come before the renderings of each unit.
    """

    kind: str
    pictures: Mapping[int, Sequence[Tensor]]
    rows: tuple[Rendered, ...] = ()
    patches: int = 0

    def seen(self, judge: Judge) -> dict[int, Tensor]:
        """Compute by unit the judge's features of its explanation, (picture, feature)."""
        return {unit: judge(pictures) for unit, pictures in self.pictures.items()}


@dataclass(frozen=True, slots=True)
class Asked:
    """The questions about the units of a layer.

    Args:
        patches: by unit, its `ASKED` top patches, then its lowest.
    """

    patches: Mapping[int, Sequence[Tensor]]

    def seen(self, judge: Judge) -> dict[int, tuple[Tensor, Tensor]]:
        """Compute by unit the judge's features of its top and of its lowest patches."""
        found = {unit: judge(patches) for unit, patches in self.patches.items()}
        return {unit: (features[:ASKED], features[ASKED:]) for unit, features in found.items()}


def ask(patches: Patches, units: Sequence[int]) -> Asked:
    """Choose the questions about each unit.

    Raises:
        UsageError: if the index has fewer than twelve different photographs for a unit.
    """
    asked = {}
    for unit in units:
        questions = choose_questions(patches, unit)
        asked[unit] = patches.at_peaks([*questions.high, *questions.low])
    return Asked(asked)


def explain(
    patches: Patches,
    units: Sequence[int],
    rendered: Mapping[Recipe, list[Rendered]],
    *,
    beside: bool = False,
    strip: bool = False,
) -> Iterator[Explained]:
    """Yield all explanations of a layer's units: real patches, then the renderings of each recipe.

    Args:
        patches: of the half that explains.
        units: to be explained.
        rendered: rows of the table of renderings, by recipe.
        beside: whether the renderings of each recipe are also shown beside the nine top patches, and one
            more patch for comparison.
        strip: whether the renderings of all recipes are also shown together.
    """
    counts = (*REAL, MORE) if beside else REAL
    nine = max(REAL)
    real = {unit: patches.at_peaks(patches.strongest(unit, max(counts))) for unit in units}
    for count in counts:
        yield Explained(f"real {count}", {unit: found[:count] for unit, found in real.items()})
    together: dict[int, list[Tensor]] = {}
    for recipe, rows in rendered.items():
        by_unit: dict[int, list[Tensor]] = {}
        for row in rows:
            by_unit.setdefault(row.unit, []).append(patches.of_rendering(row, recipe))
        for unit, pictures in by_unit.items():
            together.setdefault(unit, []).extend(pictures)
        yield Explained(recipe.name, by_unit, tuple(rows))
        if beside:
            both = {unit: [*real[unit][:nine], *pictures] for unit, pictures in by_unit.items()}
            yield Explained(f"real {nine}, {recipe.name}", both, tuple(rows), nine)
    if strip:
        names = " + ".join(recipe.name for recipe in rendered)
        yield Explained(names, together, tuple(row for rows in rendered.values() for row in rows))
