"""The part of the input around a position by which its contributions are computed, where that is enough.

A window as large as the receptive field of one position holds all that contributes to it. Windows of all
positions have one size, so that pictures with peaks at different places are run together: near a border of
the input a window is moved inwards, and ends where the input does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pipeline.images.preprocess import Box
from pipeline.layers.layer import Layer
from pipeline.networks.network import Network
from viz.canvas import Canvas, cut_canvas
from viz.objectives.objective import Objective, centre, point
from viz.planning.plan import matches_whole_input

__all__ = ["Windows", "find_windows"]


@dataclass(frozen=True, slots=True)
class Windows:
    """Windows of one size for all positions of a layer; lengths in pixels.

    Args:
        layer: its receptive field and stride are used.
        input_height: of the network.
        input_width: likewise.
        height: of every window, congruent to that of the input modulo the stride.
        width: likewise.
    """

    layer: Layer
    input_height: int
    input_width: int
    height: int
    width: int

    def at(self, y: int, x: int) -> Canvas:
        """The window of a grid position."""
        seen = cut_canvas(self.layer, y, x, self.input_height, self.input_width)
        top = min(seen.top, self.input_height - self.height)
        left = min(seen.left, self.input_width - self.width)
        box = seen.box_on_input
        return Canvas(
            self.input_height,
            self.input_width,
            top,
            left,
            self.height,
            self.width,
            top // self.layer.stride_y,
            left // self.layer.stride_x,
            Box(box.left - left, box.top - top, box.right - left, box.bottom - top),
        )

    def cut(self, pictures: Tensor, objectives: Sequence[Objective]) -> tuple[Tensor, list[Objective]]:
        """Cut pictures to the windows of their objectives' positions.

        Args:
            pictures: (image, channel, y, x), whole inputs.
            objectives: one per picture, of one term each, at positions of the layer.

        Returns:
            (image, channel, y, x) windows, and the objectives with their positions there.
        """
        parts, placed = [], []
        for picture, objective in zip(pictures, objectives, strict=True):
            (term,) = objective.terms
            assert term.y is not None
            assert term.x is not None
            window = self.at(term.y, term.x)
            rows = slice(window.top, window.top + window.height)
            columns = slice(window.left, window.left + window.width)
            parts.append(picture[:, rows, columns])
            moved = replace(term, y=term.y - window.grid_top, x=term.x - window.grid_left)
            placed.append(Objective((moved,)))
        return torch.stack(parts), placed


def find_windows(network: Network, layer: Layer) -> Windows | None:
    """Find the windows of a layer's positions, if they are smaller than the input.

    Args:
        network: in eval mode, frozen; runs a few images.
        layer: of that network.

    Returns:
        None where the receptive field is the whole input, or where a unit at the centre or at a corner of the
        grid has another activation in its window than on the whole input.
    """
    if layer.stride_y < 1 or layer.stride_x < 1:
        return None
    size = (network.preprocess.height, network.preprocess.width)
    seen_rows = [cut_canvas(layer, y, 0, *size).height for y in range(layer.grid_h)]
    seen_columns = [cut_canvas(layer, 0, x, *size).width for x in range(layer.grid_w)]
    windows = Windows(layer, *size, max(seen_rows), max(seen_columns))
    if (windows.height, windows.width) == size:
        return None
    places = [(centre(layer.grid_h), centre(layer.grid_w)), (0, 0), (layer.grid_h - 1, layer.grid_w - 1)]
    alike = all(matches_whole_input(network, point(layer, 0, *place), windows.at(*place)) for place in places)
    return windows if alike else None
