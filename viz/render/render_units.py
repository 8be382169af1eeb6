"""Render units: batches climb, pictures are saved, measured and entered in the table.

    network = load_network("efficientnet_lite0")
    (layer,) = choose_layers(network, ["blocks.4.2"])
    render_units(network, layer, range(24), get_recipe("fourier"), out=Path("out/demo"))

A batch that is finished is on disk; the same call goes on where it was stopped, because finished
units are found in the table by the fingerprint of everything that decided them. A rendering that
failed (grey, or weaker than many real images) is tried once more with the redirected ReLU and
another seed, and marked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from pipeline.choices import RenderPrecision, Score
from pipeline.errors import RenderError
from pipeline.layers.layer import Layer
from pipeline.networks.network import Network, device_of
from pipeline.progress import Reporter, Silent
from pipeline.progress import Task as ProgressTask
from viz.ascent.dispatch import canvas_for, reads_whole_layer
from viz.canvas import Canvas
from viz.objectives.objective import Objective
from viz.objectives.text import parse_objective
from viz.passes.scorer import resolve_precision
from viz.passes.watch import PASS_IMAGES
from viz.passes.workers import Workers
from viz.planning.plan import plan_canvas, plan_field
from viz.recipes.catalog import recipe_fingerprint
from viz.recipes.kinds import Recipe, Typical
from viz.render.batch import Item, Job, Made, climb_batch, row_of
from viz.render.inputs import Material
from viz.render.table import Rendered, load_renders, merge_renders
from viz.render.verdict import read_references

__all__ = ["render_units"]

BATCH_UNITS = 2 * PASS_IMAGES
"""Renderings that climb together on the CPU; what is lost when a run is stopped is one batch."""

BATCH_UNITS_CUDA = 128
"""Likewise on a GPU."""

RETRY_SEED = 1_000_003
"""Added to the seed of a second try."""


def render_units(
    network: Network,
    layer: Layer,
    units: Sequence[int],
    recipe: Recipe,
    *,
    out: Path,
    seed: int = 0,
    objective: str | Callable[[int], Objective] = "point",
    objective_name: str | None = None,
    batch: int | None = None,
    precision: RenderPrecision = "auto",
    score: Score = "max",
    material: Material | None = None,
    reporter: Reporter | None = None,
) -> list[Rendered]:
    """Render units of a layer into OUT: PNGs in `renders/`, rows in `renders.parquet`.

    Args:
        network: in eval mode, frozen.
        layer: of that network.
        units: which.
        recipe: how; see `viz.recipes.catalog`.
        out: an index's folder; any folder will do.
        seed: of the start and of every transform; a unit's picture depends on nothing else.
        objective: as `viz.objectives.text` reads it, or a function from unit to objective.
        objective_name: names a function's objective in the table.
        batch: renderings that climb together; what comes out does not depend on it.
        precision: of the climb; `auto` is bf16 where the processor computes in it.
        score: what the index in OUT keeps of a unit's positions.
        material: the dataset, for recipes that draw on it.
        reporter: shown progress in steps of single pictures.

    Returns:
        One row per rendering, unit by unit as asked for, rendered now or found finished.

    Raises:
        RenderError: for an objective, a unit or a batch that cannot be.
        StoreError: when OUT cannot be written.
    """
    reporter = reporter or Silent()
    size = _batch_size(network, batch, recipe)
    if isinstance(objective, str):
        make, name = parse_objective(objective, layer), objective_name or objective.strip()
    elif objective_name is None:
        raise RenderError("an objective of your own needs an objective_name for the table")
    else:
        make, name = objective, objective_name
    resolved = resolve_precision(precision, device_of(network))
    references = read_references(out, layer.name)
    material = material or Material(network)
    with Workers(device_of(network)) as workers:
        job = Job(network, layer, recipe, name, seed, out, resolved, score, references, material, workers)
        items = [item for unit in dict.fromkeys(units) for item in _items(job, unit, make(unit))]
        finished = _finished(job, items)
        todo = [item for item in items if (item.unit, item.facet) not in finished]
        if len(todo) < len(items):
            there = len(items) - len(todo)
            reporter.note(f"{layer.name}: {there:,} of {len(items):,} already there")
        finished |= _render_items(job, todo, size, reporter)
    return [finished[item.unit, item.facet] for item in items]


def _render_items(
    job: Job, items: Sequence[Item], size: int, reporter: Reporter
) -> dict[tuple[int, int], Rendered]:
    """Render what is still to do, batch after batch."""
    done = {}
    if items:
        title = f"render {job.layer.name} ({job.recipe.name})"
        with reporter.task(title, len(items) * job.recipe.total_steps, "steps") as progress:
            for canvas, group in _by_canvas(job, items):
                for chunk in _chunks(group, size):
                    for row in _render_batch(job, canvas_for(job.recipe, canvas), chunk, progress):
                        done[row.unit, row.facet] = row
    return done


def _batch_size(network: Network, batch: int | None, recipe: Recipe) -> int:
    """Renderings in a batch; those that are driven apart stay together."""
    if batch is not None and batch < 1:
        raise RenderError(f"a batch must be 1 or more units, got {batch}")
    usual = BATCH_UNITS if device_of(network).type == "cpu" else BATCH_UNITS_CUDA
    size = usual if batch is None else batch
    group = getattr(recipe, "variety", 1)
    return max(group, size // group * group)


def _items(job: Job, unit: int, objective: Objective) -> Iterator[Item]:
    shapes = [{**asdict(layer), "ordinal": None} for layer in objective.layers]
    for facet in range(job.material.renderings(job.recipe, job.layer, unit)):
        fingerprint = recipe_fingerprint(
            job.recipe,
            network=job.network.digest,
            preprocess=asdict(job.network.preprocess),
            objective=str(objective),
            layers=shapes,
            seed=job.seed,
            facet=facet,
            precision=job.precision,
            material=job.material.identity(job.recipe),
        )
        yield Item(unit, facet, objective, fingerprint)


def _finished(job: Job, items: Sequence[Item]) -> dict[tuple[int, int], Rendered]:
    """Rows of an earlier run that are exactly what would be made again.

    Of renderings that are driven apart from each other all must be there, or none counts.
    """
    wanted = {item.fingerprint: item for item in items}
    found = {}
    for row in load_renders(job.out):
        item = wanted.get(row.fingerprint)
        if item and row.objective == job.objective and (job.out / row.file).is_file():
            found[item.unit, item.facet] = row
    if getattr(job.recipe, "variety", 1) > 1:
        broken = {item.unit for item in items if (item.unit, item.facet) not in found}
        return {key: row for key, row in found.items() if row.unit not in broken}
    return found


def _by_canvas(job: Job, items: Sequence[Item]) -> Iterator[tuple[Canvas, list[Item]]]:
    """Items in groups that share a canvas; objectives that differ only in the unit are planned
    once."""
    plans: dict[object, Canvas] = {}
    groups: dict[Canvas, list[Item]] = {}
    for item in items:
        shape = tuple((term.layer, term.kind, term.y, term.x) for term in item.objective.terms)
        if shape not in plans:
            plans[shape] = _plan(job, item.objective)
        groups.setdefault(plans[shape], []).append(item)
    yield from groups.items()


def _plan(job: Job, objective: Objective) -> Canvas:
    """The canvas of an objective, as much of the input as the recipe needs of it."""
    if isinstance(job.recipe, Typical):
        job.material.check(job.recipe, objective, job.layer)
        return plan_field(job.network, objective, job.material.field(job.recipe, job.layer))
    return plan_canvas(job.network, objective, whole_layer=reads_whole_layer(job.recipe))


def _chunks(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    for first in range(0, len(items), size):
        yield items[first : first + size]


def _render_batch(job: Job, canvas: Canvas, items: Sequence[Item], progress: ProgressTask) -> list[Rendered]:
    """Climb, try again what failed, enter both in the table."""
    made = climb_batch(job, canvas, items, progress.advance)
    failed = [each.item for each in made if each.status != "ok"]
    if failed and getattr(job.recipe, "variety", 1) == 1:
        progress.describe(f"trying {len(failed)} once more")
        second = replace(
            job,
            recipe=replace(job.recipe, relu="redirected", relu_steps=0),
            seed=job.seed + RETRY_SEED,
        )
        tries = {each.item: each for each in climb_batch(second, canvas, failed, _silent)}
        made = [_better(job.out, each, tries.get(each.item)) for each in made]
        progress.describe("")
    rows = [row_of(job, canvas, each) for each in made]
    merge_renders(job.out, rows)
    return rows


def _silent(steps: int) -> None:
    """The steps of a second try are not in the total."""


def _better(out: Path, first: Made, second: Made | None) -> Made:
    """The better of two tries; the other's picture is removed."""
    if second is None:
        return first
    if second.status == "ok":
        kept, dropped = replace(second, status="retried"), first
    elif second.measured.activation > first.measured.activation:
        kept, dropped = second, first
    else:
        kept, dropped = first, second
    (out / dropped.file).unlink(missing_ok=True)
    return kept
