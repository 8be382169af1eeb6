"""The layers whose statistics `viz.ascent.likeness` compares."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import torch

from pipeline.layers.choose import choose_layers
from pipeline.layers.layer import Layer
from pipeline.networks.network import Network

__all__ = ["statistics_layers"]

LAYERS = 5
"""Layers whose statistics count: from early to late each sees larger shapes."""


def statistics_layers(network: Network, layer: Layer) -> tuple[list[Layer], list[Layer]]:
    """Layers for the statistics of a layer's window, and of its close-up.

    Both are the last blocks of the stages that the network's architecture shows, spread evenly
    where there are many; layers without a grid are left out. For the window these are the stages
    up to the layer, which is the last of them. For the close-up these are all stages of the
    network but the last, unless that is the only one: its features differ most from photograph to
    photograph.
    """
    usual = [each for each in choose_layers(network, receptive_fields=False) if _has_grid(each)]
    names = [each.name for each in usual]
    names += [] if layer.name in names else [layer.name]
    ordered = [each.name for each in choose_layers(network, names, receptive_fields=False)]
    before = set(ordered[: ordered.index(layer.name)])
    window = [*_stage_ends([each for each in usual if each.name in before]), layer]
    same_stage = len(window) > 1 and _shape(window[-2]) == _shape(layer)
    window = [*window[:-2], layer] if same_stage else window
    whole = _stage_ends([layer if each.name == layer.name else each for each in usual])
    close = _spread(whole)
    return _spread(window), close[:-1] or close


def _shape(layer: Layer) -> tuple[int, int, int]:
    return layer.units, layer.grid_h, layer.grid_w


def _stage_ends(layers: Sequence[Layer]) -> list[Layer]:
    """The last of every run of layers of one shape."""
    return [list(run)[-1] for _, run in groupby(layers, key=_shape)]


def _has_grid(layer: Layer) -> bool:
    return layer.grid_h * layer.grid_w > 1


def _spread(layers: Sequence[Layer]) -> list[Layer]:
    """At most `LAYERS` of them, evenly, the first and the last among them."""
    if len(layers) <= LAYERS:
        return list(layers)
    places = torch.linspace(0, len(layers) - 1, LAYERS).round().long().tolist()
    return [layers[place] for place in places]
