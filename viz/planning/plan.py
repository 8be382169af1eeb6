"""Choose the canvas of an objective, and verify it: a cone, a window or the whole input."""

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
"""Largest difference between the activations on a canvas and on the whole input, relative to the
largest activation at the target's position."""

NEARLY = 0.5
"""The same for a window around the effective receptive field, on random noise, which depends more on
the surroundings than photographs do."""

ROOM = 1.3
"""Side of such a window, in sides of the field: room for the tails of the gradient and for jitter."""

LEAST_ROOM = 32
"""Pixels by which the window is larger than the field at least."""


def plan_canvas(network: Network, objective: Objective, *, whole_layer: bool = False) -> Canvas:
    """Find the smallest canvas on which an objective has the same value as on the whole input.

    For one position of one layer it is a cone, or else the window of its receptive field, if the
    activations there are verified to be the same; for other objectives it is the whole input.

    Args:
        network: in eval mode, frozen.
        objective: its terms may differ in unit and weight.
        whole_layer: whether other positions of the layer on the window are read too, so that maps
            inside the network must not be cropped.
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
    """Find a window around an effective receptive field, for recipes that optimise only that.

    Args:
        network: in eval mode, frozen.
        objective: of one layer.
        field: that layer, narrowed to its effective receptive field.

    Returns:
        A window with room around the field, with nearly the activations of the whole input; its box
        is the field. If they differ, or every position sees the whole input, as `plan_canvas`.
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
    """Test whether all units at the target's position have the same activations on a canvas as on
    the whole input.

    They do not if the network accepts inputs of one size only, or if its padding depends on the size
    in a way that the alignment of windows and crops does not preserve.
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
