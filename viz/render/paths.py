"""The paths of renderings: of those that were just saved, and of finished ones where it was not measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch import Tensor

from pipeline.progress import Reporter, readable_count
from viz.canvas import Canvas
from viz.objectives.objective import Objective
from viz.passes.watch import PASS_IMAGES
from viz.paths.likeness import is_unusual
from viz.paths.paths import PathFound
from viz.render.measure import on_input, open_picture
from viz.render.request import RenderRequest, Target, by_canvas
from viz.render.table import Rendered, merge_renders

__all__ = ["fill_paths", "measure_paths", "note_paths"]


def measure_paths(
    request: RenderRequest, canvas: Canvas, pictures: Sequence[Tensor], objectives: Sequence[Objective]
) -> list[PathFound]:
    """Measure the paths of saved pictures, if that is asked for; see `viz.paths.paths`.

    Args:
        request: that the pictures are of.
        canvas: of the pictures.
        pictures: (channel, y, x) uint8 of each.
        objectives: one per picture.
    """
    if request.paths is None:
        return [PathFound()] * len(pictures)
    whole = on_input(request.inputs.network, pictures, canvas, request.recipe.zoom)
    return request.paths.measure(whole, objectives)


def fill_paths(
    request: RenderRequest,
    targets: Sequence[Target],
    finished: Mapping[tuple[int, int], Rendered],
    reporter: Reporter,
) -> dict[tuple[int, int], Rendered]:
    """Measure the paths of finished renderings of which it was not tried yet, and enter them in the table.

    Args:
        request: that the renderings are of.
        targets: of the request.
        finished: rows by unit and facet.
        reporter: shows the renderings that are measured.

    Returns:
        The rows that changed, by unit and facet.
    """
    if request.paths is None or not request.inputs.has_index:
        return {}
    rows = {key: row for key, row in finished.items() if row.path is None and row.no_path is None}
    wanted = [target for target in targets if (target.unit, target.facet) in rows]
    filled: dict[tuple[int, int], Rendered] = {}
    if wanted:
        with reporter.task(f"paths {request.layer.name}", len(wanted), "renderings") as progress:
            for canvas, group in by_canvas(request, wanted):
                for first in range(0, len(group), PASS_IMAGES):
                    part = group[first : first + PASS_IMAGES]
                    filled |= _measure_rows(request, canvas, part, rows)
                    progress.advance(len(part))
    return filled


def note_paths(request: RenderRequest, rows: Sequence[Rendered], reporter: Reporter) -> None:
    """Say how many of the renderings that were measured have an unusual path, and why others were not.

    Args:
        request: whose `paths` have measured.
        rows: of the renderings that are new, or whose paths are.
        reporter: is told.
    """
    if request.paths is None:
        return
    unusual = sum(is_unusual(row.path) for row in rows)
    if unusual:
        of_all = readable_count(len(rows), "rendering")
        reporter.note(
            f"{request.layer.name}: {unusual:,} of {of_all} with an unusual path, see docs/rendering.md"
        )
    for reason, count in sorted(request.paths.reasons.items()):
        measured = readable_count(count, "rendering")
        reporter.note(f"{request.layer.name}: path of {measured} not measured: {reason}")


def _measure_rows(
    request: RenderRequest,
    canvas: Canvas,
    targets: Sequence[Target],
    rows: Mapping[tuple[int, int], Rendered],
) -> dict[tuple[int, int], Rendered]:
    """Measure some renderings on one canvas; returns those whose row changed."""
    keys = [(target.unit, target.facet) for target in targets]
    channels = request.inputs.network.input_shape[0]
    pictures = [open_picture(request.out / rows[key].file, channels) for key in keys]
    found = measure_paths(request, canvas, pictures, [target.objective for target in targets])
    changed = {
        key: replace(rows[key], path=each.path, no_path=each.reason, path_version=each.version)
        for key, each in zip(keys, found, strict=True)
        if each != PathFound()
    }
    merge_renders(request.out, list(changed.values()))
    return changed
