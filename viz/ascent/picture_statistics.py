"""What `viz.ascent.likeness` compares of pictures: statistics of a window, of a close-up, and of pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from pipeline.layers.layer import Layer
from viz.ascent.close_up import box_of, close_up
from viz.ascent.edges import edge_statistics
from viz.ascent.focus import Focus
from viz.ascent.mixtures import mix, mixing_matrix
from viz.ascent.moments import Moments
from viz.ascent.sorted_features import SortedFeatures
from viz.ascent.usual import Features, Usual
from viz.canvas import Canvas
from viz.choices import Match
from viz.passes.score_term import Look, Views

__all__ = ["CLOSE", "EDGES", "MIXED", "PictureStatistics", "gaussian"]

DEVIATIONS = 2.5
"""Standard deviations of the window's Gaussian weight to a side of the effective receptive field."""

CLOSE = "close-up of "
"""Before the name of a layer, for statistics of close-ups."""

MIXED = "mixtures of "
"""Before the key of a layer's channels, for statistics of their combinations."""

EDGES = "edges at scale "
"""Before a scale, for statistics of pixels."""

KINDS: Mapping[Match, type[Features]] = {"moments": Moments, "sorted": SortedFeatures}
"""The statistics that each word stands for."""


class PictureStatistics:
    """Statistics of pictures by key: a layer's name, with a prefix for close-ups and combinations.

    Args:
        canvas: of the pictures; its box is the effective receptive field.
        window: layers of the window's statistics.
        close: layers of the close-up's statistics.
        close_side: of a close-up, in pixels; the whole input's where the network takes no other.
        whole: height and width of the network's input.
        match: what is compared of a channel.
        mixtures: whether there are statistics of combinations of channels too, once `read` gave
            the usual deviations.
        edges: whether there are statistics of pixels too.
    """

    def __init__(
        self,
        canvas: Canvas,
        window: Sequence[Layer],
        close: Sequence[Layer],
        *,
        close_side: int,
        whole: tuple[int, int],
        match: Match,
        mixtures: bool,
        edges: bool,
    ) -> None:
        self.canvas, self.match = canvas, match
        self.window = [each.name for each in window]
        self.close = [each.name for each in close]
        self.close_size, self.whole = (close_side, close_side), whole
        self.mixtures, self.edges = mixtures, edges
        self._mixing: dict[str, Tensor] = {}

    def identity(self) -> tuple[object, ...]:
        """All that decides statistics, of the same network and pictures."""
        geometry = (self.canvas, self.window, self.close, self.close_size, DEVIATIONS)
        return (*geometry, self.match, self.mixtures, self.edges)

    def fit_close_up(self, look: Look, pictures: Tensor) -> None:
        """Use whole inputs where the network takes no other: transformers, fixed grids at the end."""
        if self.close:
            try:
                look(self._close_up(pictures), self.close)
            except (RuntimeError, AssertionError, ValueError, IndexError):
                self.close_size = self.whole

    def usual(self, views: Views, look: Look, pictures: Tensor, target: str) -> Usual:
        """Statistics of usual photographs, and the spread of a layer's units.

        Args:
            views: of the pictures, with the window's layers and the target.
            look: shows pictures to the network.
            pictures: (image, channel, y, x), windows of the canvas.
            target: name of the layer.
        """
        self._mixing = {}
        channels = self(views, look, pictures)
        self._know({key: each.average() for key, each in channels.items()})
        found = self(views, look, pictures) if self.mixtures else channels
        return Usual.of(found, views[target].values.float().mean((2, 3)))

    def read(self, tensors: Mapping[str, Tensor]) -> Usual:
        """What `Usual.tensors` gave; combinations of channels follow the usual deviations from now on."""
        found = Usual.read(tensors, self._kind_of)
        self._know(found.norm)
        return found

    def __call__(
        self, views: Views, look: Look, pictures: Tensor, focus: Focus | None = None
    ) -> dict[str, Any]:
        """Describe pictures.

        Args:
            views: of the pictures, with the window's layers.
            look: shows close-ups to the network.
            pictures: (image, channel, y, x), windows of the canvas.
            focus: weights of the positions of each; None if all count alike.
        """
        found: dict[str, Any] = {}
        for name in self.window:
            values = views[name].values.float()
            weight = gaussian(self.canvas, values)
            weight = focus.window(weight) if focus else weight / weight.sum()
            found |= self._of_maps(name, values, weight)
        if self.close:
            close = look(self._close_up(pictures), self.close)
            for name in self.close:
                values = close[name].values.float()
                weight = torch.ones_like(values[0, 0])
                weight = focus.close_up(weight) if focus else weight / weight.sum()
                found |= self._of_maps(CLOSE + name, values, weight)
        if self.edges:
            scales = edge_statistics(box_of(pictures, self.canvas))
            found |= {f"{EDGES}{scale}": each for scale, each in scales.items()}
        return found

    def _of_maps(self, key: str, values: Tensor, weight: Tensor) -> dict[str, Any]:
        """Statistics of a layer's channels, and of their combinations once these are known."""
        kind = KINDS[self.match]
        found = {key: kind.of(values, weight)}
        if key in self._mixing:
            found[MIXED + key] = kind.of(mix(values, self._mixing[key]), weight)
        return found

    def _know(self, norm: Mapping[str, Any]) -> None:
        """Choose the combinations of every layer's channels, by their usual statistics."""
        if self.mixtures:
            channels = {key: each for key, each in norm.items() if not key.startswith((MIXED, EDGES))}
            self._mixing = {key: mixing_matrix(each.deviation) for key, each in channels.items()}

    def _kind_of(self, key: str) -> type[Features]:
        return SortedFeatures if key.startswith(EDGES) else KINDS[self.match]

    def _close_up(self, pictures: Tensor) -> Tensor:
        return close_up(pictures, self.canvas, self.close_size)


def gaussian(canvas: Canvas, values: Tensor) -> Tensor:
    """Weights (y, x) of the positions of a map, by their distance from the centre of the effective field.

    Args:
        canvas: its box is the effective receptive field.
        values: (image, unit, y, x), of the canvas's window.
    """
    box, sides = canvas.box, (canvas.height, canvas.width)
    centres = ((box.top + box.bottom) / 2, (box.left + box.right) / 2)
    fields = (box.bottom - box.top, box.right - box.left)
    weights = []
    for length, side, middle, field in zip(values.shape[2:], sides, centres, fields, strict=True):
        place = (torch.arange(length, device=values.device) + 0.5) / length * side
        weights.append(torch.exp(-0.5 * ((place - middle) / (field / DEVIATIONS)).square()))
    return weights[0][:, None] * weights[1][None]
