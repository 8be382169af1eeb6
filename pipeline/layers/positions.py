"""Verify that the positions of layers are where their grids say, and find the order where they are not.

A transformer may keep its tokens in another order than row by row (Hiera: by mask units), and what is
behind a global mixing of positions has none. So every layer with a grid is tested, see
`pipeline.layers.position_tests`: changes of the input around the place that position (y, x) is said to
look at must change this position more than other positions, relative to what all of them change. If
they do not, the cells of the grid are changed independently, and each position is assigned the cell
that explains its changes best. The order counts if no cell is assigned twice and if it passes the
same test on other pictures; otherwise the positions are unknown.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby

from pipeline.layers.layer import Layer
from pipeline.layers.position_search import (
    CLEAR,
    GRID,
    LEAST_DEVIATIONS,
    MORE_PASSES,
    UNKNOWN,
    Placing,
    grid_of,
    is_clear,
    row_by_row,
    search_orders,
)
from pipeline.layers.position_tests import Evidence, respond
from pipeline.networks.network import Network

__all__ = ["Placing", "place_positions", "placed"]

FIRST_PASSES = 2
"""Passes of the first test, of 9 pictures each."""

MOST_PASSES = 24
"""Passes of the test of layers that are related to their places, but not clearly after those."""

ENOUGH = 0.85
"""Share of positions that must go with their place in the tests with more pictures; where every other row is
reversed it would be 0.75."""

FEW_POSITIONS = 25
"""Grids with fewer positions can fail the test only because random networks tell them apart poorly."""


def placed(layer: Layer, placing: Placing) -> Layer:
    """The layer with that placing."""
    return replace(layer, positions=placing.positions, position_order=placing.order)


def place_positions(network: Network, layers: Sequence[Layer], shown: Sequence[bool]) -> list[Placing]:
    """Test the positions of layers, and find the order of those that fail.

    Args:
        network: in eval mode; runs a few batches of 9 pictures.
        layers: of that network, in forward order, with their receptive fields.
        shown: for each, whether its positions need no test.

    Returns:
        One placing per layer; `grid` for layers without a grid.
    """
    found = {layer.name: GRID for layer in layers}
    gridded = [layer for layer in layers if layer.grid_h * layer.grid_w > 1]
    tested = [layer for layer, known in zip(layers, shown, strict=True) if layer in gridded and not known]
    wrong, deviations = _failing(network, tested)
    found |= {layer.name: UNKNOWN for layer in wrong}
    for grid, members in groupby(sorted(wrong, key=grid_of), key=grid_of):
        found |= search_orders(network, list(members), grid)
    for before, layer in zip([None, *gridded], gridded, strict=False):
        # The order is not known, but nothing speaks against the grid either.
        if found[layer.name] is UNKNOWN:
            local = layer.stride_y > 0 and layer.stride_x > 0
            few = layer.grid_h * layer.grid_w < FEW_POSITIONS
            usual = few and before is not None and found[before.name] is not UNKNOWN
            related = layer.kind != "tokens" and deviations[layer.name] >= LEAST_DEVIATIONS
            if local or usual or related:
                found[layer.name] = GRID
    return [found[layer.name] for layer in layers]


def _failing(network: Network, layers: Sequence[Layer]) -> tuple[list[Layer], dict[str, float]]:
    """Layers whose positions are not row by row as far as can be seen, and the deviations of all, by name."""
    doubtful: list[Layer] = []
    last: list[Layer] = []
    wrong: list[Layer] = []
    deviations: dict[str, float] = {}
    for layer, evidence in _test(network, layers, FIRST_PASSES, seed=0):
        deviations[layer.name] = evidence.deviations
        if not is_clear(evidence, CLEAR):
            unrelated = evidence.deviations < LEAST_DEVIATIONS
            enough = layer.grid_h * layer.grid_w >= FEW_POSITIONS
            (wrong if unrelated and enough else doubtful).append(layer)
    for layer, evidence in _test(network, doubtful, MORE_PASSES, seed=1):
        deviations[layer.name] = evidence.deviations
        if not is_clear(evidence, ENOUGH):
            (last if evidence.deviations >= LEAST_DEVIATIONS else wrong).append(layer)
    for layer, evidence in _test(network, last, MOST_PASSES, seed=4):
        deviations[layer.name] = evidence.deviations
        if not is_clear(evidence, ENOUGH):
            wrong.append(layer)
    return sorted(wrong, key=lambda layer: layer.ordinal), deviations


def _test(
    network: Network, layers: Sequence[Layer], passes: int, *, seed: int
) -> Iterator[tuple[Layer, Evidence]]:
    """Compare layers with what their positions are said to look at."""
    if not layers:
        return
    responses = respond(network, layers, passes=passes, seed=seed)
    for layer in layers:
        yield layer, row_by_row(network, responses, layer)
