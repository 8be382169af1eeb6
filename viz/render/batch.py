"""One batch of renderings: optimised, saved, read back, measured and judged."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from pipeline.store.files import sha256_file
from viz.ascent.checkpoint import Checkpoint
from viz.ascent.history import AscentResult
from viz.ascent.loop import ascend
from viz.canvas import Canvas
from viz.inputs.batch import Batch
from viz.inputs.top_images import TopImages
from viz.passes.scorer import Scorer
from viz.passes.watch import Watch
from viz.paths.paths import PathFound
from viz.pixels import to_bytes
from viz.render.checkpoints import checkpoint_of
from viz.render.files import picture_name, save_picture
from viz.render.measure import Measured, measure, open_picture
from viz.render.paths import measure_paths
from viz.render.request import RenderRequest, Target, compared_with, is_lowest
from viz.render.table import Rendered
from viz.render.verdict import Reference, judge, ratio_of
from viz.seeds import item_generator

__all__ = ["render_batch"]


def render_batch(
    request: RenderRequest, canvas: Canvas, targets: Sequence[Target], on_step: Callable[[int], None]
) -> list[Rendered]:
    """Render a batch on one canvas: the row of the table of each target, in order."""
    objectives = [target.objective for target in targets]
    layers = {layer.name: layer for each in objectives for layer in each.layers}
    batch = Batch(
        request.inputs.for_ascent(request.recipe.source, tuple(layers.values())),
        canvas,
        objectives,
        [item_generator(request.seed, request.layer.name, target.unit, target.facet) for target in targets],
        _top_images(request, canvas, targets),
    )
    result = _optimise(request, batch, on_step, checkpoint_of(request, targets, batch.device))
    files, pictures = _save(request, targets, result)
    measured = measure(
        request.inputs.network, pictures, batch.objectives, canvas, request.score, request.recipe.zoom
    )
    paths = measure_paths(request, canvas, pictures, batch.objectives)
    images = [top.images for top in batch.top_images] or [()] * len(targets)
    return [
        _row(request, canvas, *each)
        for each in zip(targets, files, pictures, measured, paths, result.traces, images, strict=True)
    ]


def _top_images(request: RenderRequest, canvas: Canvas, targets: Sequence[Target]) -> list[TopImages]:
    """What each target is made from; empty where the recipe uses no top images."""
    recipe, divided = request.recipe, dict[int, list[TopImages]]()
    if recipe.top_images == 0:
        return []
    for target in targets:
        if target.unit not in divided:
            top = request.inputs.top_images(
                request.layer, target.unit, target.objective, canvas, recipe.top_images
            )
            divided[target.unit] = recipe.divide(top)
    return [divided[target.unit][target.facet] for target in targets]


def _optimise(
    request: RenderRequest, batch: Batch, on_step: Callable[[int], None], checkpoint: Checkpoint
) -> AscentResult:
    """Gradient ascent as the recipe plans it, from where an earlier run was stopped."""
    recipe, ascent = request.recipe, request.recipe.ascent(batch)
    term, read = ascent.score_term, batch.objectives[0].layers
    layers = {layer.name: layer for layer in (*(term.layers if term else ()), *read)}
    with Watch(batch.inputs.network, tuple(layers.values()), batch.canvas) as watch:
        scorer = Scorer(
            watch,
            relu=recipe.relu,
            relu_steps=recipe.relu_steps,
            precision=request.precision,
            extra=term,
            workers=request.workers,
        )
        return recipe.finish(
            ascend(ascent, scorer, batch.objectives, on_step, checkpoint, request.observer), batch
        )


def _save(
    request: RenderRequest, targets: Sequence[Target], result: AscentResult
) -> tuple[list[str], list[Tensor]]:
    """Save every picture and read it back: files relative to OUT, pictures (channel, y, x) uint8."""
    network, recipe = request.inputs.network, request.recipe
    pictures = to_bytes(result.pictures if recipe.keep == "last" else result.best)
    alpha = None if result.alpha is None else to_bytes(result.alpha)
    files = []
    for number, target in enumerate(targets):
        file = picture_name(
            request.layer.name,
            recipe.name,
            request.objective,
            target.unit,
            target.facet,
            request.seed,
            target.fingerprint,
        )
        about = f"{network.name}: {target.objective}, {recipe.name}, seed {request.seed}"
        planes = [pictures[number], *([] if alpha is None else [alpha[number]])]
        save_picture(request.out / file, planes, about)
        files.append(file)
    return files, [open_picture(request.out / file, network.input_shape[0]) for file in files]


def _row(
    request: RenderRequest,
    canvas: Canvas,
    target: Target,
    file: str,
    picture: Tensor,
    measured: Measured,
    path: PathFound,
    trace: tuple[float, ...],
    images: tuple[int, ...],
) -> Rendered:
    """What the table of renderings says of a picture."""
    recipe, zoom = request.recipe, request.recipe.zoom
    height, width = picture.shape[1:]
    box = canvas.box_in(round(height / zoom), round(width / zoom))
    reference = request.references.get(target.unit, Reference())
    lowest = is_lowest(target.objective)
    best, p999 = compared_with(request, target)
    alike = request.score == "max" or measured.activation == measured.peak
    comparable = measured.peak is not None and alike
    return Rendered(
        sha256=sha256_file(request.out / file),
        layer=request.layer.name,
        unit=target.unit,
        recipe=recipe.name,
        objective=request.objective,
        facet=target.facet,
        seed=request.seed,
        activation=measured.activation,
        peak=measured.peak,
        best_real=best,
        p999=p999,
        ratio=ratio_of(measured.activation, best, lowest=lowest) if comparable else None,
        steps=len(trace),
        best_step=max(range(len(trace)), key=trace.__getitem__),
        status=judge(measured, reference, picture, lowest=lowest),
        relu=recipe.relu,
        precision=request.precision,
        file=file,
        width=width,
        height=height,
        box_left=box.left * zoom,
        box_top=box.top * zoom,
        box_right=box.right * zoom,
        box_bottom=box.bottom * zoom,
        fingerprint=target.fingerprint,
        images=images,
        trace=trace,
        index_fingerprint=request.index_fingerprint,
        path=path.path,
        no_path=path.reason,
        path_version=path.version,
    )
