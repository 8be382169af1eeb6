"""The renderings that a study shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipeline.errors import UsageError
from pipeline.layers.layer import Layer
from pipeline.query.index import Index
from viz.recipes.base import Recipe
from viz.render.table import Rendered, load_renders

__all__ = ["require_renderings", "study_renderings"]

OBJECTIVE = "point"
"""Preferred over other objectives that a unit was rendered for: the default of `maxact render`."""

LISTED = 8
"""Units that a message names at most."""


def study_renderings(index: Index, recipe: Recipe) -> dict[tuple[str, int], list[Rendered]]:
    """Find the renderings of a recipe by layer and unit: all facets, of one objective and the lowest seed.

    Raises:
        StoreError: if their table is damaged or of another version.
    """
    groups: dict[tuple[str, int], dict[tuple[bool, str, int], list[Rendered]]] = {}
    for row in load_renders(index.out):
        if row.recipe == recipe.name and row.index_fingerprint == index.run["fingerprint"]:
            unit = groups.setdefault((row.layer, row.unit), {})
            unit.setdefault((row.objective != OBJECTIVE, row.objective, row.seed), []).append(row)
    return {key: sorted(group[min(group)], key=lambda row: row.facet) for key, group in groups.items()}


def require_renderings(
    index: Index,
    chosen: Sequence[tuple[Layer, Sequence[int]]],
    renderings: Mapping[tuple[str, int], Sequence[Rendered]],
    recipe: Recipe,
) -> None:
    """Refuse units that were not rendered.

    Raises:
        UsageError: says how to render those of the first layer that lacks some.
    """
    for layer, units in chosen:
        missing = [unit for unit in units if (layer.name, unit) not in renderings]
        if missing:
            listed = ",".join(map(str, missing[:LISTED])) + (",..." if len(missing) > LISTED else "")
            raise UsageError(
                f"units {listed} of {layer.name} have no rendering of recipe {recipe.name}; render them "
                f"(`maxact render {index.out} --recipe {recipe.name} --layer ... --units ...`), or leave out "
                "synthetic (--reference real)"
            )
