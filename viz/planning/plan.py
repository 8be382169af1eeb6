"""Which canvas an objective is painted on, after a trial: a cone, a window or the whole input."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from pipeline.images.preprocess import Box
from pipeline.layers.layer import Layer
from pipeline.networks.network import Network, device_of
from viz.canvas import Canvas, cut_canvas, whole_canvas
from viz.objectives.objective import Objective, Term
from viz.passes.watch import Watch
from viz.planning.cone import cone_canvas
from viz.planning.effective_field import narrowed

__all__ = ["matches_whole_input", "plan_canvas", "plan_field"]

TOLERANCE = 1e-4
"""Largest difference between a canvas's activations and the whole input's, relative to the largest
activation of the target's position."""

NEARLY = 0.5
"""The same of a window around the effective receptive field, on pictures of noise, where what is
left out matters more than in photographs."""

ROOM = 1.6
"""Side of such a window, in sides of the field: its bell's tails, and what jitter moves in."""

LEAST_ROOM = 32
"""Pixels by which it is larger at least."""


def plan_canvas(network: Network, objective: Objective, *, whole_layer: bool = False) -> Canvas:
    """The least work on which an objective is what it is on the whole input.

    One position of one layer gets a cone, or else the window of its receptive field, after a trial
    that the activations there are the same; everything else gets the whole input.

    Args:
        network: in eval mode, frozen.
        objective: whose terms may differ in unit and weight.
        whole_layer: the rest of the layer's map on the window is read too, so that nothing inside
            the network may be cut.
    """
    height, width = network.preprocess.height, network.preprocess.width
    places = {(term.layer, term.y, term.x) for term in objective.terms}
    if len(places) > 1:
        return whole_canvas(height, width)
    ((layer, y, x),) = places
    if y is None or x is None:
        return whole_canvas(height, width)
    cone = None if whole_layer else cone_canvas(network, layer, y, x)
    if cone and matches_whole_input(network, objective, cone):
        return cone
    window = cut_canvas(layer, y, x, height, width)
    if window.is_whole or matches_whole_input(network, objective, window):
        return window
    return whole_canvas(height, width, window.box_on_input)


def plan_field(network: Network, objective: Objective, field: Layer) -> Canvas:
    """The window around what a unit does look at, for recipes that paint no more than that.

    Args:
        network: in eval mode, frozen.
        objective: of one layer.
        field: that layer, narrowed to its effective receptive field.

    Returns:
        A window with room around the field, whose activations are nearly those of the whole input;
        its box is the field. Where that does not hold, or the field has no place, what
        `plan_canvas` gives.
    """
    height, width = network.preprocess.height, network.preprocess.width
    exact = plan_canvas(network, objective, whole_layer=True)
    (layer,), term = objective.layers, objective.terms[0]
    if term.y is None or term.x is None or field.rf_h * field.rf_w >= layer.rf_h * layer.rf_w:
        return exact
    side = max(field.rf_h, field.rf_w)
    wide = narrowed(layer, max(ROOM * side, side + LEAST_ROOM))
    window = cut_canvas(wide, term.y, term.x, height, width)
    smaller = window.height * window.width < exact.height * exact.width
    if not smaller or not matches_whole_input(network, objective, window, NEARLY):
        window = exact
    seen = field.box(term.y, term.x)
    box = Box(
        max(seen.left, 0) - window.left,
        max(seen.top, 0) - window.top,
        min(seen.right, width) - window.left,
        min(seen.bottom, height) - window.top,
    )
    return replace(window, box=box)


def matches_whole_input(
    network: Network, objective: Objective, canvas: Canvas, tolerance: float = TOLERANCE
) -> bool:
    """Whether a canvas gives all units at the target's position the same activations as the whole
    input does, by trying it.

    A network that only takes inputs of one size, or whose padding depends on the size in a way
    that the alignment of windows and crops does not respect, gives False.
    """
    term = objective.terms[0]
    generator = torch.Generator().manual_seed(0)
    shape = (2, network.input_shape[0], canvas.input_height, canvas.input_width)
    whole = (255 * torch.rand(shape, generator=generator)).to(device_of(network))
    rows = slice(canvas.top, canvas.top + canvas.height)
    columns = slice(canvas.left, canvas.left + canvas.width)
    expected = _units(network, term, None, whole)
    try:
        found = _units(network, term, canvas, whole[:, :, rows, columns])
    except (RuntimeError, AssertionError, ValueError, IndexError):
        return False
    return bool((found - expected).abs().max() <= tolerance * expected.abs().max())


def _units(network: Network, term: Term, canvas: Canvas | None, pictures: Tensor) -> Tensor:
    """(image, unit) activations at a term's position."""
    assert term.y is not None
    assert term.x is not None
    with torch.no_grad(), Watch(network, [term.layer], canvas) as watch:
        view = watch(pictures)[term.layer.name]
    y, x = term.y - view.top, term.x - view.left
    if y < 0 or x < 0:
        raise IndexError(f"{term.layer.name}: position {y}, {x} is not on the canvas")
    return view.values[:, :, y, x].float()
