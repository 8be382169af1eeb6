"""Find the order of positions that are not row by row, see `pipeline.layers.positions`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product

import torch
from torch import Tensor

from pipeline.choices import Positions
from pipeline.layers.layer import Layer
from pipeline.layers.position_tests import Evidence, Responses, compare, correlate, respond, windows
from pipeline.networks.network import Network

__all__ = [
    "CLEAR",
    "GRID",
    "LEAST_DEVIATIONS",
    "MORE_PASSES",
    "UNKNOWN",
    "Placing",
    "grid_of",
    "is_clear",
    "row_by_row",
    "search_orders",
]

MORE_PASSES = 6
"""Passes of the test of layers for which the first one is not clear, and of an order that was found."""

SEARCH_PASSES = {256: 4, 4096: 8}
"""Passes of the search for an order, by the largest number of cells that they tell apart; larger grids
are not searched, as correlations of all positions with all cells are kept."""

MORE_SEARCH = 8
"""Times as many passes for layers that PROMISING cells of the first ones were claimed by."""

PROMISING = 0.75
"""Least share of cells that are claimed; of independent claims it is 1 - 1/e, 0.63."""

BEST_PLACES = 6
"""Candidates for the places of a grid that an order is looked for in, those that fit best."""

MOST_FAILURES = 2
"""Layers with grids of one size that are searched in vain before the others are given up too."""

CLEAR = 0.95
"""Share of positions that must go with their place in the first test."""

LEAST_DEVIATIONS = 4.0
"""Least distance from random places, in standard deviations."""

SHIFTS = (-0.375, 0.0, 0.375)
"""Where places may be, in cells from the centre of a cell."""

SIZES = (1.0, 1.5)
"""Side of a place in cells."""


@dataclass(frozen=True, slots=True)
class Placing:
    """Where a layer's output has its positions; see `Layer`."""

    positions: Positions
    order: tuple[int, ...] = ()


GRID, UNKNOWN = Placing("grid"), Placing("unknown")


@dataclass(frozen=True, slots=True)
class _Places:
    """Windows of the input that the positions of a grid are compared with, as from `windows`."""

    rows: Tensor
    columns: Tensor


def is_clear(evidence: Evidence, share: float) -> bool:
    """Whether at least that share of positions goes with its place, far from places at random."""
    return evidence.above >= share and evidence.deviations >= LEAST_DEVIATIONS


def grid_of(layer: Layer) -> tuple[int, int]:
    """Rows and columns of a layer."""
    return layer.grid_h, layer.grid_w


def row_by_row(network: Network, responses: Responses, layer: Layer) -> Evidence:
    """How well the positions of a layer, row by row, go with what they are said to look at.

    That are the centres of its receptive fields and the cells of its grid, of which the better ones count:
    the one field that stands for those of windowed attention need not be centred on its position.

    Args:
        network: of the responses.
        responses: to changed pictures, see `pipeline.layers.position_tests.respond`.
        layer: one of those that responded.
    """
    order = range(layer.prefix, layer.prefix + layer.grid_h * layer.grid_w)
    cells = replace(layer, stride_y=0, stride_x=0)
    said = [_said(network, each, size) for each in (layer, cells) for size in (1, 3)]
    found = (_evidence(responses, layer, order, places) for places in said)
    return max(found, key=lambda evidence: evidence.above)


def _said(network: Network, layer: Layer, size: int) -> _Places:
    """The places of a layer's positions: the centres of their fields, or the cells of the grid."""

    def along(length: int, positions: int, field: int, stride: int, start: int) -> Tensor:
        cell = length / positions
        if stride < 1:
            return windows(length, positions, cell / 2, cell, size * cell)
        return windows(length, positions, start + field / 2, stride, size * max(stride, cell))

    height, width = network.preprocess.height, network.preprocess.width
    return _Places(
        along(height, layer.grid_h, layer.rf_h, layer.stride_y, layer.start_y),
        along(width, layer.grid_w, layer.rf_w, layer.stride_x, layer.start_x),
    )


def _evidence(responses: Responses, layer: Layer, order: Sequence[int], places: _Places) -> Evidence:
    """Compare a layer whose positions are stored in some order."""
    response = responses.layers[layer.name][:, list(order)]
    return compare(response, responses.change, places.rows, places.columns)


def search_orders(network: Network, layers: Sequence[Layer], grid: tuple[int, int]) -> dict[str, Placing]:
    """Find the orders of layers with grids of one size.

    Args:
        network: in eval mode.
        layers: of that network, in forward order.
        grid: rows and columns of their grids.

    Returns:
        Placings by name, of those layers of which an order was found.
    """
    passes = next((count for most, count in SEARCH_PASSES.items() if grid[0] * grid[1] <= most), None)
    if passes is None:
        return {}
    found: dict[str, Placing] = {}
    others = respond(network, layers, passes=MORE_PASSES, grid=grid, seed=3)
    known: dict[tuple[int, ...], _Places] = {}
    failures = 0
    for layer in layers:
        # The orders of layers before it are tried first, the last one before the others.
        fits = (order for order, places in known.items() if _holds(network, others, layer, order, places))
        order = next(fits, None)
        if order is None and failures < MOST_FAILURES:
            fitted = _fit_order(network, layer, passes)
            if fitted and _holds(network, others, layer, *fitted):
                order = fitted[0]
                known = dict([fitted, *known.items()])
            else:
                failures += 1
        if order is not None:
            usual = order == tuple(range(layer.prefix, layer.prefix + len(order)))
            found[layer.name] = GRID if usual else Placing("reordered", order)
    return found


def _holds(
    network: Network, responses: Responses, layer: Layer, order: Sequence[int], places: _Places
) -> bool:
    """Whether a layer's positions, in that order, go with those places, or with the cells of the grid."""
    if max(order) >= responses.layers[layer.name].shape[1]:
        return False
    cells = replace(layer, stride_y=0, stride_x=0)
    said = (places, *(_said(network, cells, size) for size in (1, 3)))
    return any(is_clear(_evidence(responses, layer, order, each), CLEAR) for each in said)


def _candidates(network: Network, layer: Layer) -> Iterator[_Places]:
    """Places in the cells of the grid, shifted a little, as a field need not be centred on its cell."""
    height, width = network.preprocess.height, network.preprocess.width
    down, along = height / layer.grid_h, width / layer.grid_w
    for y, x, size in product(SHIFTS, SHIFTS, SIZES):
        yield _Places(
            windows(height, layer.grid_h, (0.5 + y) * down, down, size * down),
            windows(width, layer.grid_w, (0.5 + x) * along, along, size * along),
        )


def _fit_order(network: Network, layer: Layer, passes: int) -> tuple[tuple[int, ...], _Places] | None:
    """The order of a layer and its places; None if none is found, also with more passes if it seems near."""
    for count in (passes, MORE_SEARCH * passes):
        responses = respond(network, [layer], passes=count, grid=grid_of(layer), seed=2)
        fitted, claimed = _order(responses, layer, _candidates(network, layer))
        if fitted or claimed < PROMISING:
            return fitted
    return None


def _order(
    responses: Responses, layer: Layer, candidates: Iterator[_Places]
) -> tuple[tuple[tuple[int, ...], _Places] | None, float]:
    """For each cell, the stored position that it explains best, if no two cells claim the same.

    Where fields lie between two cells, places shifted to either side explain the positions about as well,
    but only one of them by different cells; so the first of the best candidates that does is taken.

    Returns:
        The order and its places, or None, and the largest share of cells that were claimed.
    """
    response = responses.layers[layer.name]
    cells = layer.grid_h * layer.grid_w
    some = response[:, torch.linspace(0, response.shape[1] - 1, min(response.shape[1], 256)).long()]

    def fit(places: _Places) -> float:
        return float(correlate(some, responses.change, places.rows, places.columns).amax(1).mean())

    share = 0.0
    for places in sorted(candidates, key=fit, reverse=True)[:BEST_PLACES]:
        best = correlate(response, responses.change, places.rows, places.columns).max(1)
        # What is left over are tokens without a place, which are explained least.
        stored = best.values.topk(cells).indices
        claimed = best.indices[stored]
        share = max(share, len(set(claimed.tolist())) / cells)
        if share == 1:
            return (tuple(stored[claimed.argsort()].tolist()), places), share
    return None, share
