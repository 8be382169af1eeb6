"""The direction that a unit of a dictionary stands for, as an objective.

A feature of a sparse autoencoder adds its row of the decoder to the layer; a direction of a plain file is a
row of it. The objective is the dot product of the layer with that row, at one position: it has no bias or
nonlinearity, so that it has a gradient where the feature is off.
"""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor, nn

from pipeline.errors import RenderError
from pipeline.layers.layer import Layer
from pipeline.networks.dictionaries import Dictionary
from pipeline.networks.extra_modules import Directions
from viz.objectives.objective import Objective, centre, direction

__all__ = ["decoder"]


def decoder(
    module: nn.Module, layer: Layer, unit: int, y: int | None = None, x: int | None = None
) -> Objective:
    """The dot product of the layer that a dictionary belongs to with the direction of one of its units.

    Args:
        module: the network, with the dictionary.
        layer: of the dictionary's features.
        unit: feature or direction.
        y, x: grid position, the centre by default.

    Raises:
        RenderError: for a layer that is no dictionary, a dictionary without a decoder, or a unit or position
            that is not there.
    """
    rows = _rows(module, layer)
    if not 0 <= unit < len(rows):
        raise RenderError(f"{layer.name} has {len(rows):,} units, numbered 0-{len(rows) - 1}; got {unit}")
    encoded = replace(layer, name=layer.module.rpartition(".")[0], units=rows.shape[1])
    row = centre(layer.grid_h) if y is None else y
    column = centre(layer.grid_w) if x is None else x
    return direction(encoded, rows[unit].tolist(), row, column)


def _rows(module: nn.Module, layer: Layer) -> Tensor:
    """(unit, channel)."""
    try:
        found = module.get_submodule(layer.module)
    except AttributeError as error:
        raise RenderError(f"the network has no layer {layer.name}") from error
    if isinstance(found, Directions):
        return found.rows
    if not isinstance(found, Dictionary):
        raise RenderError(
            f"the objective decoder is of the units of a dictionary, and {layer.name} is none; use point, or "
            "index with --dictionary FILE --at LAYER"
        )
    if found.decoder is None:
        raise RenderError(f"the dictionary of {layer.name} has no decoder (W_dec); use point")
    return found.decoder.rows
