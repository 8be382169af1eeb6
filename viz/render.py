"""Render units: batches climb, pictures are saved, measured and entered in the table.

    network = load_network("efficientnet_lite0")
    (layer,) = choose_layers(network, ["blocks.4.2"])
    render_units(network, layer, range(24), get_recipe("fourier"), out=Path("out/demo"))

A batch that is finished is on disk; the same call goes on where it was stopped, because finished
units are found in the table by the fingerprint of everything that decided them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from pipeline.errors import RenderError, StoreError
from pipeline.layers import Layer
from pipeline.networks import Network
from pipeline.peaks import Score
from pipeline.progress import Reporter, Silent
from pipeline.progress import Task as ProgressTask
from pipeline.store import atomic_path, read_table
from viz.ascent import Climb, Task, canvas_for, climb, item_generator
from viz.canvas import Canvas, cut_canvas, whole_canvas
from viz.image import to_bytes
from viz.measure import Measured, device_of, matches_whole_input, measure, open_picture
from viz.objective import Objective, channel, logit, point
from viz.recipe import Recipe, recipe_fingerprint
from viz.renders import Rendered, load_renders, merge_renders
from viz.scorer import PASS_IMAGES, Precision, Scorer, Watch, resolve_precision

__all__ = ["NAMED_OBJECTIVES", "Reference", "plan_canvas", "read_references", "render_units"]

BATCH_UNITS = 2 * PASS_IMAGES
"""Units that climb together on the CPU; what is lost when a run is stopped is one batch."""

BATCH_UNITS_CUDA = 128
"""Likewise on a GPU."""

FLAT_DEVIATION = 4.0
"""A picture whose pixels deviate less than this from their mean, on 0..255, is called grey."""

NAMED_OBJECTIVES: Mapping[str, Callable[[Layer, int], Objective]] = {
    "point": point,
    "channel": channel,
    "logit": logit,
    "-point": lambda layer, unit: -point(layer, unit),
    "-channel": lambda layer, unit: -channel(layer, unit),
    "-logit": lambda layer, unit: -logit(layer, unit),
}
"""What `objective` may be called by name; a minus asks for the lowest instead of the highest."""


@dataclass(frozen=True, slots=True)
class Reference:
    """What the dataset reached for a unit: its extremes and quantiles of peaks."""

    highest: float | None = None
    lowest: float | None = None
    p90: float | None = None
    p999: float | None = None


@dataclass(frozen=True, slots=True)
class _Item:
    """One rendering to make."""

    unit: int
    facet: int
    objective: Objective
    fingerprint: str


@dataclass(frozen=True, slots=True)
class _Job:
    """What the renderings of one call share."""

    network: Network
    layer: Layer
    recipe: Recipe
    objective: str
    seed: int
    out: Path
    precision: Precision
    score: Score
    references: Mapping[int, Reference]


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
    precision: Precision = "auto",
    score: Score = "max",
    reporter: Reporter | None = None,
) -> list[Rendered]:
    """Render units of a layer into OUT: PNGs in `renders/`, rows in `renders.parquet`.

    Args:
        network: in eval mode, frozen.
        layer: of that network.
        units: which.
        recipe: how; see `viz.recipe`.
        out: an index's folder; any folder will do.
        seed: of the start and of every transform; a unit's picture depends on nothing else.
        objective: a name in `NAMED_OBJECTIVES`, or a function from unit to objective.
        objective_name: names a function's objective in the table.
        batch: units that climb together; what comes out does not depend on it.
        precision: of the climb; `auto` is bfloat16 where the processor computes in it.
        score: what the index in OUT keeps of a unit's positions.
        reporter: shown progress in steps of single pictures.

    Returns:
        One row per unit, in the order asked for, rendered now or found finished.

    Raises:
        RenderError: for an objective, a unit or a batch that cannot be.
        StoreError: when OUT cannot be written.
    """
    reporter = reporter or Silent()
    size = _default_batch(network) if batch is None else batch
    if size < 1:
        raise RenderError(f"a batch must be 1 or more units, got {size}")
    make, name = _named(objective, objective_name, layer)
    resolved = resolve_precision(precision, device_of(network))
    references = read_references(out, layer.name)
    job = _Job(network, layer, recipe, name, seed, out, resolved, score, references)
    items = [_item(job, unit, make(unit)) for unit in dict.fromkeys(units)]
    finished = _finished(job, items)
    todo = [item for item in items if (item.unit, item.facet) not in finished]
    if len(todo) < len(items):
        reporter.note(f"{layer.name}: {len(items) - len(todo):,} of {len(items):,} already there")
    if todo:
        total = len(todo) * recipe.total_steps
        with reporter.task(f"render {layer.name} ({recipe.name})", total, "steps") as progress:
            for canvas, group in _by_canvas(network, todo):
                for chunk in _chunks(group, size):
                    for row in _render_batch(job, canvas_for(recipe, canvas), chunk, progress):
                        finished[row.unit, row.facet] = row
    return [finished[item.unit, item.facet] for item in items]


def read_references(out: Path, layer: str) -> dict[int, Reference]:
    """The dataset's extremes of a layer's units, by unit; empty where nothing is indexed."""
    path = out / "units.parquet"
    if not path.exists():
        return {}
    table = read_table(path).select(["layer", "unit", "max", "min", "p90", "p999"])
    return {
        row["unit"]: Reference(row["max"], row["min"], row["p90"], row["p999"])
        for row in table.to_pylist()
        if row["layer"] == layer
    }


def plan_canvas(network: Network, objective: Objective) -> Canvas:
    """The smallest window on which an objective is what it is on the whole input.

    One position of one layer is cut to its receptive field, after a trial that the activation is
    the same; everything else gets the whole input.
    """
    height, width = network.preprocess.height, network.preprocess.width
    places = {(term.layer, term.y, term.x) for term in objective.terms}
    if len(places) > 1:
        return whole_canvas(height, width)
    ((layer, y, x),) = places
    if y is None or x is None:
        return whole_canvas(height, width)
    canvas = cut_canvas(layer, y, x, height, width)
    if canvas.is_whole or matches_whole_input(network, objective, canvas):
        return canvas
    return whole_canvas(height, width, canvas.box_on_input)


def _named(
    objective: str | Callable[[int], Objective], name: str | None, layer: Layer
) -> tuple[Callable[[int], Objective], str]:
    if not isinstance(objective, str):
        if name is None:
            raise RenderError("an objective of your own needs an objective_name for the table")
        return objective, name
    if objective not in NAMED_OBJECTIVES:
        raise RenderError(
            f"unknown objective {objective!r}; expected one of {', '.join(NAMED_OBJECTIVES)}"
        )
    named = NAMED_OBJECTIVES[objective]
    return (lambda unit: named(layer, unit)), name or objective


def _item(job: _Job, unit: int, objective: Objective, facet: int = 0) -> _Item:
    shapes = [{**asdict(layer), "ordinal": None} for layer in objective.layers]
    fingerprint = recipe_fingerprint(
        job.recipe,
        network=job.network.digest,
        preprocess=asdict(job.network.preprocess),
        objective=str(objective),
        layers=shapes,
        seed=job.seed,
        facet=facet,
        precision=job.precision,
    )
    return _Item(unit, facet, objective, fingerprint)


def _finished(job: _Job, items: Sequence[_Item]) -> dict[tuple[int, int], Rendered]:
    """Rows of an earlier run that are exactly what would be made again."""
    wanted = {item.fingerprint: item for item in items}
    found = {}
    for row in load_renders(job.out):
        item = wanted.get(row.fingerprint)
        if item and row.objective == job.objective and (job.out / row.file).is_file():
            found[item.unit, item.facet] = row
    return found


def _by_canvas(network: Network, items: Sequence[_Item]) -> Iterator[tuple[Canvas, list[_Item]]]:
    """Items in groups that share a canvas; objectives that differ only in the unit are planned
    once."""
    plans: dict[object, Canvas] = {}
    groups: dict[Canvas, list[_Item]] = {}
    for item in items:
        shape = tuple((term.layer, term.kind, term.y, term.x) for term in item.objective.terms)
        if shape not in plans:
            plans[shape] = plan_canvas(network, item.objective)
        groups.setdefault(plans[shape], []).append(item)
    yield from groups.items()


def _default_batch(network: Network) -> int:
    return BATCH_UNITS if device_of(network).type == "cpu" else BATCH_UNITS_CUDA


def _chunks(items: Sequence[_Item], size: int) -> Iterator[Sequence[_Item]]:
    for first in range(0, len(items), size):
        yield items[first : first + size]


def _render_batch(
    job: _Job, canvas: Canvas, items: Sequence[_Item], progress: ProgressTask
) -> list[Rendered]:
    objectives = [item.objective for item in items]
    with Watch(job.network, objectives[0].layers, canvas) as watch:
        scorer = Scorer(
            watch, relu=job.recipe.relu, relu_steps=job.recipe.relu_steps, precision=job.precision
        )
        generators = [
            item_generator(job.seed, job.layer.name, item.unit, item.facet) for item in items
        ]
        task = Task(
            scorer, canvas, job.network.input_shape[0], objectives, generators, progress.advance
        )
        result = climb(job.recipe, task)
    pictures = to_bytes(result.pictures if job.recipe.keep == "last" else result.best)
    files = [_save(job, item, picture) for item, picture in zip(items, pictures, strict=True)]
    saved = [open_picture(job.out / file, task.channels) for file in files]
    measured = measure(job.network, saved, objectives, canvas, job.score)
    rows = [
        _row(job, item, canvas, files[number], saved[number], measured[number], result, number)
        for number, item in enumerate(items)
    ]
    merge_renders(job.out, rows)
    return rows


def _save(job: _Job, item: _Item, picture: Tensor) -> str:
    """Write one PNG atomically; its name says what it is. Returns it relative to OUT."""
    parts = [job.recipe.name, job.objective, f"{item.unit:05}", f"s{job.seed}"]
    parts += [f"f{item.facet}"] if item.facet else []
    name = "-".join(_slug(part) for part in [*parts, item.fingerprint[:8]])
    file = Path("renders") / _slug(job.layer.name) / f"{name}.png"
    path = job.out / file
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"cannot create {path.parent}: {error.strerror}") from error
    pixels = picture.permute(1, 2, 0).squeeze(2).numpy()
    about = PngInfo()
    about.add_text("maxact", f"{job.network.name} {item.objective} {job.recipe.name} {job.seed}")
    with atomic_path(path) as temporary:
        Image.fromarray(pixels).save(temporary, format="PNG", pnginfo=about)
    return file.as_posix()


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._]+", "_", text).strip("_.") or "_"


def _row(
    job: _Job,
    item: _Item,
    canvas: Canvas,
    file: str,
    picture: Tensor,
    measured: Measured,
    result: Climb,
    number: int,
) -> Rendered:
    height, width = picture.shape[1:]
    box = canvas.box_in(height, width)
    reference = job.references.get(item.unit, Reference())
    lowest = all(term.weight < 0 for term in item.objective.terms)
    best = reference.lowest if lowest else reference.highest
    alike = job.score == "max" or measured.activation == measured.peak
    comparable = measured.peak is not None and best is not None and best > 0 and alike
    trace: Any = result.trace[:, number]
    return Rendered(
        layer=job.layer.name,
        unit=item.unit,
        recipe=job.recipe.name,
        objective=job.objective,
        facet=item.facet,
        seed=job.seed,
        activation=measured.activation,
        peak=measured.peak,
        best_real=best,
        p999=None if lowest else reference.p999,
        ratio=measured.activation / best if comparable and best else None,
        steps=len(trace),
        best_step=int(trace.argmax()),
        status=_judge(measured, reference, picture, lowest),
        relu=job.recipe.relu,
        precision=job.precision,
        file=file,
        width=width,
        height=height,
        box_left=box.left,
        box_top=box.top,
        box_right=box.right,
        box_bottom=box.bottom,
        fingerprint=item.fingerprint,
        trace=tuple(trace.tolist()),
    )


def _judge(measured: Measured, reference: Reference, picture: Tensor, lowest: bool) -> str:
    """`ok`, or what is wrong: a grey picture, or an activation that many real images beat."""
    if picture.float().std() < FLAT_DEVIATION:
        return "grey"
    weak = not lowest and reference.p90 is not None and measured.activation < reference.p90
    return "weak" if weak else "ok"
