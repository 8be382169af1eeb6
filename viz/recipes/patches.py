"""What recipes share that are made from a unit's top patches: the canvas, and the patches on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.errors import RenderError

if TYPE_CHECKING:
    from torch import Tensor

    from pipeline.layers.layer import Layer
    from viz.canvas import Canvas
    from viz.inputs.inputs import Inputs
    from viz.inputs.top_images import TopImages
    from viz.objectives.objective import Objective

__all__ = ["field_canvas", "windows"]


def field_canvas(recipe: str, inputs: Inputs, layer: Layer, objective: Objective) -> Canvas:
    """A window around the effective receptive field.

    Args:
        recipe: its name.
        inputs: with an index.
        layer: that is rendered.
        objective: of one of its units.

    Raises:
        RenderError: for an objective without top images in the index.
    """
    from viz.planning.plan import plan_field

    term = objective.terms[0]
    one = len(objective.terms) == 1 and term.layer.name == layer.name
    if not one or term.kind not in ("point", "channel"):
        raise RenderError(
            f"recipe {recipe} renders units, whose top images the index has; "
            f"for {objective} choose another, such as --recipe fourier"
        )
    return plan_field(inputs.network, objective, inputs.effective_field(layer))


def windows(top: TopImages, canvas: Canvas) -> Tensor:
    """(patch, channel, y, x) float: what top images show in the canvas's window."""
    import torch

    pictures = torch.stack(list(top.pictures)).float()
    first, left = canvas.window_in(pictures.shape[2], pictures.shape[3])
    return pictures[:, :, first : first + canvas.height, left : left + canvas.width]
