"""The receptive field that renderings of a layer show, so that real patches can be cut to the same size."""

from __future__ import annotations

from collections.abc import Iterable

from pipeline.layers.layer import Layer
from viz.objectives.text import is_at_centre
from viz.planning.effective_field import narrowed
from viz.render.table import Rendered

__all__ = ["rendered_field"]


def rendered_field(layer: Layer, rows: Iterable[Rendered]) -> Layer:
    """Narrow the receptive field of a layer to the canvas of its renderings.

    Only renderings of the centre position are considered, as the canvas of other positions may be
    clipped at a border.
    """
    centred = [row for row in rows if is_at_centre(row.objective)]
    if not centred or layer.stride_y < 1 or layer.stride_x < 1:
        return layer
    return narrowed(layer, max(max(b.bottom - b.top, b.right - b.left) for b in (row.box for row in centred)))
