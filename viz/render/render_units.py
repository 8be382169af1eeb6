"""Render units: batches are optimised, saved, measured and entered in the table.

    network = load_network("efficientnet_lite0")
    (layer,) = choose_layers(network, ["blocks.4.2"])
    render_units(network, layer, range(24), get_recipe("fourier"), out=Path("out/demo"))

A finished batch is on disk; the same call continues where it was stopped, because finished units
are found in the table by the fingerprint of everything that decided them, and the batch that was
being optimised in its checkpoint (`viz.render.checkpoints`). A rendering that failed
(grey, or weaker than many real images) is made once more with the redirected ReLU rule and another
seed, and marked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from pipeline.choices import AskedPrecision, Score
from pipeline.devices import resolve_precision, tell_of_bf16
from pipeline.errors import RenderError, RenderingStopped
from pipeline.layers.layer import Layer
from pipeline.networks.network import Network, device_of
from pipeline.progress import Reporter, Silent, readable_count
from pipeline.progress import Task as ProgressTask
from pipeline.remote.local import local_folder
from pipeline.store.files import remove_file
from pipeline.store.leftovers import writing
from pipeline.store.run_file import fingerprint_of_index
from viz.ascent.loop import Observer
from viz.canvas import Canvas
from viz.inputs.inputs import Inputs
from viz.inputs.top_images import NoTopImages
from viz.objectives.objective import Objective
from viz.objectives.text import parse_objective
from viz.passes.watch import PASS_IMAGES
from viz.passes.workers import Workers
from viz.paths.paths import Paths
from viz.recipes.base import Recipe
from viz.render.batch import render_batch
from viz.render.checkpoints import remove_checkpoints
from viz.render.paths import fill_paths, note_paths
from viz.render.request import RenderRequest, Target, by_canvas, compared_with, targets_of
from viz.render.table import Rendered, load_renders, merge_renders, without_path
from viz.render.verdict import read_references

__all__ = ["batch_size", "render_units"]

BATCH_UNITS = 2 * PASS_IMAGES
"""Renderings in a batch on the CPU."""

BATCH_UNITS_CUDA = 128
"""Likewise on a GPU."""

RETRY_SEED = 1_000_003
"""Added to the seed of a second attempt."""


def render_units(
    network: Network,
    layer: Layer,
    units: Sequence[int],
    recipe: Recipe,
    *,
    out: Path | str,
    seed: int = 0,
    objective: str | Callable[[int], Objective] = "point",
    objective_name: str | None = None,
    batch: int | None = None,
    precision: AskedPrecision = "auto",
    score: Score = "max",
    inputs: Inputs | None = None,
    reporter: Reporter | None = None,
    observer: Observer | None = None,
    path: bool = True,
) -> list[Rendered]:
    """Render units of a layer into OUT: PNGs in `renders/`, rows in `renders.parquet`.

    Args:
        network: in eval mode, frozen.
        layer: of that network.
        units: which.
        recipe: how; see `viz.recipes.catalog`.
        out: an index's folder, or its address; any folder will do.
        seed: random seed; a unit's picture depends on nothing else that is random.
        objective: as `viz.objectives.text` reads it, or a function from unit to objective.
        objective_name: names a function's objective in the table.
        batch: renderings that are optimised together; pictures do not depend on it.
        precision: of gradient ascent; `auto` is bf16 where the processor computes in it.
        score: what the index in OUT keeps of a unit's positions.
        inputs: of that network; for recipes that use an index, a photograph or a generator.
        reporter: shown progress in steps of single pictures.
        observer: is shown every step of every batch. If it ends one by raising `RenderingStopped`, nothing
            of that batch is kept.
        path: measure how like the path of each rendering is to that of the unit's top patches; also of
            finished renderings of which it was not measured yet.

    Returns:
        One row per rendering, unit by unit as asked for, rendered now or found finished. Units
        without top images are left out, with a note, if the recipe is made from top images.

    Raises:
        NoTopImages: when all of them are left out.
        RenderError: for an objective, a unit or a batch that cannot be.
        RenderingStopped: when the observer ended it.
        StoreError: when OUT cannot be written.
    """
    reporter, out = reporter or Silent(), local_folder(out, "*")
    size = batch_size(device_of(network), batch, recipe)
    if isinstance(objective, str):
        make = parse_objective(objective, layer, module=network.module)
        name = objective_name or objective.strip()
    elif objective_name is None:
        raise RenderError("an objective of your own needs an objective_name for the table")
    else:
        make, name = objective, objective_name
    resolved = resolve_precision(precision, device_of(network))
    # Of `auto`, which is what is rendered with by default, nothing need be said.
    if precision == "bf16" and (told := tell_of_bf16(precision, device_of(network))):
        reporter.note(told)
    references = read_references(out, layer.name)
    inputs = inputs or Inputs(network)
    inputs.require(recipe.source, recipe.name)
    made_from = fingerprint_of_index(out, network.digest)
    with writing(out), Workers(device_of(network)) as workers:
        paths = Paths(inputs, score) if path else None
        request = RenderRequest(
            inputs,
            layer,
            recipe,
            name,
            seed,
            out,
            resolved,
            score,
            references,
            workers,
            paths,
            made_from,
            observer,
        )
        targets = _targets(request, {unit: make(unit) for unit in units}, reporter)
        finished = _finished(request, targets)
        missing = [target for target in targets if (target.unit, target.facet) not in finished]
        if len(missing) < len(targets):
            there = len(targets) - len(missing)
            reporter.note(f"{layer.name}: {there:,} of {len(targets):,} already there")
        new = fill_paths(request, targets, finished, reporter)
        new |= _render_all(request, missing, size, reporter)
        note_paths(request, list(new.values()), reporter)
        finished |= new
    return [finished[target.unit, target.facet] for target in targets]


def _targets(request: RenderRequest, objectives: Mapping[int, Objective], reporter: Reporter) -> list[Target]:
    """All renderings of these units; those that have no top images are skipped with a note."""
    targets: list[Target] = []
    skipped: list[NoTopImages] = []
    for unit, objective in objectives.items():
        try:
            targets += targets_of(request, unit, objective)
        except NoTopImages as error:
            skipped.append(error)
    if skipped:
        others = f" (and {readable_count(len(skipped) - 1, 'more unit')})" if len(skipped) > 1 else ""
        if not targets:
            raise NoTopImages(f"{skipped[0]}{others}")
        reporter.note(f"skipped: {skipped[0]}{others}")
    return targets


def batch_size(device: torch.device, batch: int | None, recipe: Recipe) -> int:
    """Renderings in a batch; groups stay together.

    Args:
        device: where they are optimised.
        batch: how many are asked for.
        recipe: of them.

    Raises:
        RenderError: for a batch below 1.
    """
    if batch is not None and batch < 1:
        raise RenderError(f"a batch must be 1 or more units, got {batch}")
    usual = BATCH_UNITS if device.type == "cpu" else BATCH_UNITS_CUDA
    size = usual if batch is None else batch
    return max(recipe.group, size // recipe.group * recipe.group)


def _finished(request: RenderRequest, targets: Sequence[Target]) -> dict[tuple[int, int], Rendered]:
    """Rows of an earlier run that are exactly what would be made again.

    Of renderings that depend on each other all must be there, or none counts. Rows that were made from
    another index, or do not say from which, are taken over if they would not differ for this one.
    """
    wanted = {target.fingerprint: target for target in targets}
    found, adopted = {}, []
    for row in load_renders(request.out):
        target = wanted.get(row.fingerprint)
        if not target or row.objective != request.objective or not row.is_intact(request.out):
            continue
        if row.index_fingerprint != request.index_fingerprint:
            if not _has_references(row, request, target):
                continue
            # Its path was measured against the top patches of the other index.
            row = replace(without_path(row), index_fingerprint=request.index_fingerprint)
            adopted.append(row)
        found[target.unit, target.facet] = row
    if adopted:
        merge_renders(request.out, adopted)
    if request.recipe.group > 1:
        broken = {target.unit for target in targets if (target.unit, target.facet) not in found}
        return {key: row for key, row in found.items() if row.unit not in broken}
    return found


def _has_references(row: Rendered, request: RenderRequest, target: Target) -> bool:
    """Whether a row compares its picture with what this dataset reached."""
    return (row.best_real, row.p999) == compared_with(request, target)


def _render_all(
    request: RenderRequest, targets: Sequence[Target], size: int, reporter: Reporter
) -> dict[tuple[int, int], Rendered]:
    """Render what is missing, batch after batch."""
    done: dict[tuple[int, int], Rendered] = {}
    if targets:
        title = f"render {request.layer.name} ({request.recipe.name})"
        with reporter.task(title, len(targets) * request.recipe.total_steps, "steps") as progress:
            for canvas, group in by_canvas(request, targets):
                for chunk in _chunks(group, size):
                    try:
                        rows = _render_chunk(request, canvas, chunk, progress)
                    except RenderingStopped:
                        remove_checkpoints(request.out, chunk)
                        raise
                    done |= {(row.unit, row.facet): row for row in rows}
    return done


def _chunks(targets: Sequence[Target], size: int) -> Iterator[Sequence[Target]]:
    for first in range(0, len(targets), size):
        yield targets[first : first + size]


def _render_chunk(
    request: RenderRequest, canvas: Canvas, targets: Sequence[Target], progress: ProgressTask
) -> list[Rendered]:
    """Render a batch, try again what failed, enter it in the table."""
    rows = render_batch(request, canvas, targets, progress.advance)
    failed = [target for target, row in zip(targets, rows, strict=True) if row.status != "ok"]
    if failed and request.recipe.group == 1 and request.recipe.activates:
        progress.describe(f"trying {len(failed)} once more")
        recipe = replace(request.recipe, relu="redirected", relu_steps=0)
        second = replace(request, recipe=recipe, seed=request.seed + RETRY_SEED)
        retried = {(row.unit, row.facet): row for row in render_batch(second, canvas, failed, _ignore)}
        rows = [_better(request, row, retried.get((row.unit, row.facet))) for row in rows]
        progress.describe("")
    merge_renders(request.out, rows)
    remove_checkpoints(request.out, targets)
    return rows


def _ignore(steps: int) -> None:
    """The steps of a second attempt are not in the total."""


def _better(request: RenderRequest, first: Rendered, second: Rendered | None) -> Rendered:
    """The better of two attempts, under the seed asked for; the other's picture is removed."""
    if second is None:
        return first
    if second.status == "ok":
        kept, dropped = replace(second, status="retried"), first
    elif second.activation > first.activation:
        kept, dropped = second, first
    else:
        kept, dropped = first, second
    remove_file(request.out / dropped.file)
    return replace(kept, seed=request.seed)
