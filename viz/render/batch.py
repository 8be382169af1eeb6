"""One batch of renderings: it climbs, its pictures are saved, read back and measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from pipeline.choices import RenderPrecision, Score
from pipeline.layers.layer import Layer
from pipeline.networks.network import Network
from viz.ascent.dispatch import climb, reads_whole_layer
from viz.ascent.likeness import Likeness
from viz.ascent.score_terms import Near, Variety
from viz.ascent.task import Climb, Task
from viz.canvas import Canvas
from viz.objectives.objective import Objective
from viz.passes.score_term import Extra
from viz.passes.scorer import Scorer
from viz.passes.watch import Watch
from viz.passes.workers import Workers
from viz.pixels import to_bytes
from viz.recipes.kinds import Accentuate, Fourier, Maco, Recipe, Typical
from viz.render.files import picture_name, save_picture
from viz.render.inputs import Material
from viz.render.measure import Measured, measure, open_picture
from viz.render.starts import Start
from viz.render.table import Rendered
from viz.render.verdict import Reference, judge, ratio_of
from viz.seeds import item_generator

__all__ = ["Item", "Job", "Made", "climb_batch", "extra_for", "row_of"]


@dataclass(frozen=True, slots=True)
class Item:
    """One rendering to make."""

    unit: int
    facet: int
    objective: Objective
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Job:
    """What the renderings of one call share."""

    network: Network
    layer: Layer
    recipe: Recipe
    objective: str
    seed: int
    out: Path
    precision: RenderPrecision
    score: Score
    references: Mapping[int, Reference]
    material: Material
    workers: Workers


@dataclass(frozen=True, slots=True)
class Made:
    """One rendering as it was saved and measured."""

    item: Item
    file: str
    picture: Tensor
    measured: Measured
    trace: tuple[float, ...]
    start: Start | None
    status: str
    relu: str


def climb_batch(
    job: Job, canvas: Canvas, items: Sequence[Item], on_step: Callable[[int], None]
) -> list[Made]:
    """Render a batch on one canvas: one result per item, in order."""
    objectives = [item.objective for item in items]
    starts = [
        job.material.start(job.recipe, item.objective, job.layer, item.unit, item.facet, canvas)
        for item in items
    ]
    read = objectives[0].layers
    extra = extra_for(job.recipe, job.material, read[0], canvas)
    known = {layer.name: layer for layer in (*(extra.layers if extra else ()), *read)}
    with Watch(job.network, tuple(known.values()), canvas) as watch:
        scorer = Scorer(
            watch,
            relu=job.recipe.relu,
            relu_steps=job.recipe.relu_steps,
            precision=job.precision,
            extra=extra,
            workers=job.workers,
        )
        generators = [item_generator(job.seed, job.layer.name, item.unit, item.facet) for item in items]
        supplies = job.material.supplies(job.recipe, starts, canvas)
        channels = job.network.input_shape[0]
        task = Task(scorer, canvas, channels, objectives, generators, on_step, supplies)
        result = climb(job.recipe, task)
    return _save_batch(job, canvas, items, starts, result)


def _save_batch(
    job: Job,
    canvas: Canvas,
    items: Sequence[Item],
    starts: Sequence[Start | None],
    result: Climb,
) -> list[Made]:
    """Save every picture, read it back, measure it."""
    pictures = to_bytes(result.pictures if job.recipe.keep == "last" else result.best)
    opacity = None if result.opacity is None else to_bytes(result.opacity)
    files = []
    for number, item in enumerate(items):
        file = picture_name(
            job.layer.name,
            job.recipe.name,
            job.objective,
            item.unit,
            item.facet,
            job.seed,
            item.fingerprint,
        )
        about = f"{job.network.name}: {item.objective}, {job.recipe.name}, seed {job.seed}"
        layers = [pictures[number], *([] if opacity is None else [opacity[number]])]
        save_picture(job.out / file, layers, about)
        files.append(file)
    channels = job.network.input_shape[0]
    saved = [open_picture(job.out / file, channels) for file in files]
    objectives = [item.objective for item in items]
    measured = measure(job.network, saved, objectives, canvas, job.score, _zoom(job.recipe))
    return [
        Made(
            item,
            files[number],
            saved[number],
            measured[number],
            result.traces[number],
            starts[number],
            _status(job, item, measured[number], saved[number]),
            job.recipe.relu,
        )
        for number, item in enumerate(items)
    ]


def _status(job: Job, item: Item, measured: Measured, picture: Tensor) -> str:
    reference = job.references.get(item.unit, Reference())
    return judge(measured, reference, picture, lowest=_is_lowest(item.objective))


def _is_lowest(objective: Objective) -> bool:
    return all(term.weight < 0 for term in objective.terms)


def _zoom(recipe: Recipe) -> float:
    """Pixels of a recipe's picture to a pixel of the canvas."""
    return recipe.enlarge if isinstance(recipe, Maco) else 1.0


def row_of(job: Job, canvas: Canvas, made: Made) -> Rendered:
    """What the table of renderings says of one."""
    zoom = _zoom(job.recipe)
    height, width = made.picture.shape[1:]
    box = canvas.box_in(round(height / zoom), round(width / zoom))
    reference = job.references.get(made.item.unit, Reference())
    lowest = _is_lowest(made.item.objective)
    best = reference.lowest if lowest else reference.highest
    measured = made.measured
    alike = job.score == "max" or measured.activation == measured.peak
    comparable = measured.peak is not None and alike
    return Rendered(
        layer=job.layer.name,
        unit=made.item.unit,
        recipe=job.recipe.name,
        objective=job.objective,
        facet=made.item.facet,
        seed=job.seed,
        activation=measured.activation,
        peak=measured.peak,
        best_real=best,
        p999=None if lowest else reference.p999,
        ratio=ratio_of(measured.activation, best, lowest=lowest) if comparable else None,
        steps=len(made.trace),
        best_step=max(range(len(made.trace)), key=made.trace.__getitem__),
        status=made.status,
        relu=made.relu,
        precision=job.precision,
        file=made.file,
        width=width,
        height=height,
        box_left=box.left * zoom,
        box_top=box.top * zoom,
        box_right=box.right * zoom,
        box_bottom=box.bottom * zoom,
        fingerprint=made.item.fingerprint,
        images=made.start.images if made.start else (),
        trace=made.trace,
    )


def extra_for(recipe: Recipe, material: Material, layer: Layer, canvas: Canvas) -> Extra | None:
    """What a recipe adds to the scores of its batch.

    Args:
        recipe: any.
        material: knows the network, and which layers' statistics count.
        layer: that the objectives read first.
        canvas: of the batch.
    """
    if not isinstance(recipe, Fourier) or not reads_whole_layer(recipe):
        return None
    if isinstance(recipe, Typical):
        way, close = material.statistics_layers(layer)
        preprocess = material.network.preprocess
        return Likeness(
            layer,
            way,
            close,
            canvas,
            drive=recipe.drive,
            reach=recipe.reach_whole if canvas.field_is_whole else recipe.reach,
            weight=recipe.likeness,
            close_weight=recipe.close_up,
            close_side=recipe.close_side,
            caricature=recipe.caricature,
            whole=(preprocess.height, preprocess.width),
        )
    if isinstance(recipe, Accentuate):
        return Near(layer.name, recipe.near)
    return Variety(layer.name, recipe.variety_weight, recipe.variety)
