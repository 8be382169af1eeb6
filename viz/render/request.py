"""One call to `render_units`, and the renderings that it asks for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline.choices import AskedPrecision, Score
from pipeline.layers.layer import Layer
from viz.ascent.loop import Observer
from viz.canvas import Canvas
from viz.inputs.inputs import Inputs
from viz.objectives.objective import Objective
from viz.passes.workers import Workers
from viz.paths.paths import Paths
from viz.recipes.base import Recipe
from viz.recipes.catalog import recipe_fingerprint
from viz.render.verdict import Reference

__all__ = ["RenderRequest", "Target", "by_canvas", "compared_with", "is_lowest", "targets_of"]


@dataclass(frozen=True, slots=True)
class RenderRequest:
    """What the renderings of one call share.

    Args:
        inputs: the network, and what recipes take from an index or a user.
        layer: of the units.
        recipe: how.
        objective: its name in the table.
        seed: of all that is random.
        out: the folder that is written to.
        precision: of gradient ascent.
        score: what the index in `out` keeps of a unit's positions.
        references: what the dataset reached, by unit.
        workers: open.
        paths: measures how like the path of a picture is to that of top patches; None leaves it out.
        index_fingerprint: of the index in `out`, if the network made it.
        observer: is shown every step.
    """

    inputs: Inputs
    layer: Layer
    recipe: Recipe
    objective: str
    seed: int
    out: Path
    precision: AskedPrecision
    score: Score
    references: Mapping[int, Reference]
    workers: Workers
    paths: Paths | None
    index_fingerprint: str | None = None
    observer: Observer | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """One rendering.

    Args:
        unit: of the layer; -1 for the whole layer.
        facet: its number among the unit's renderings.
        objective: what is maximised.
        fingerprint: of everything that decides the picture.
    """

    unit: int
    facet: int
    objective: Objective
    fingerprint: str


def targets_of(request: RenderRequest, unit: int, objective: Objective) -> Iterator[Target]:
    """The renderings of a unit.

    Raises:
        NoTopImages: when the recipe is made from top images, and the unit has none.
    """
    shapes = [{**layer.record(), "ordinal": None} for layer in objective.layers]
    for facet in range(_renderings(request, unit, objective)):
        fingerprint = recipe_fingerprint(
            request.recipe,
            network=request.inputs.network.digest,
            preprocess=asdict(request.inputs.network.preprocess),
            objective=str(objective),
            layers=shapes,
            seed=request.seed,
            facet=facet,
            precision=request.precision,
            # This key, and every other, is hashed: another word would make all pictures anew.
            material=request.inputs.identity(request.recipe.source),
        )
        yield Target(unit, facet, objective, fingerprint)


def by_canvas(request: RenderRequest, targets: Sequence[Target]) -> Iterator[tuple[Canvas, list[Target]]]:
    """Targets in groups that share a canvas; objectives that differ only in the unit are planned once."""
    plans: dict[object, Canvas] = {}
    groups: dict[Canvas, list[Target]] = {}
    for target in targets:
        shape = tuple((term.layer, term.kind, term.y, term.x) for term in target.objective.terms)
        if shape not in plans:
            plans[shape] = request.recipe.canvas(request.inputs, request.layer, target.objective)
        groups.setdefault(plans[shape], []).append(target)
    yield from groups.items()


def is_lowest(objective: Objective) -> bool:
    """Whether an objective asks for the lowest activation."""
    return all(term.weight < 0 for term in objective.terms)


def compared_with(request: RenderRequest, target: Target) -> tuple[float | None, float | None]:
    """The dataset's best activation of a target's unit, and its 99.9th percentile."""
    reference = request.references.get(target.unit, Reference())
    if is_lowest(target.objective):
        return reference.lowest, None
    return reference.highest, reference.p999


def _renderings(request: RenderRequest, unit: int, objective: Objective) -> int:
    """How many renderings of a unit there can be."""
    recipe = request.recipe
    if recipe.top_images == 0:
        return recipe.renderings
    request.inputs.require_top_images(request.layer, unit, objective, recipe.name)
    if recipe.renderings == 1:
        return 1  # to count the images takes a query for each unit
    known = request.inputs.count_top_images(request.layer, unit, objective, recipe.top_images)
    return min(recipe.renderings, known)
