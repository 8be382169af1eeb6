"""A score term that aligns the distributions of a rendering's features with those of top patches.

As in VITAL (Gorgun, Schiele and Fischer, ICCV 2025): of each channel of some layers before the unit's, the
sorted values of the rendering should be the mean of the patches' sorted values, and a channel counts as much
as it is relevant to the unit in the patches. The unit's activation is no part of the score. Relevance there
comes from layer-wise relevance propagation; here it is gradient times activation (`viz.ascent.relevance`).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pipeline.layers.layer import Layer
from pipeline.networks.network import Network
from viz.ascent.relevance import contribution_maps
from viz.ascent.score_terms import ScoreTerm
from viz.canvas import Canvas
from viz.choices import Relevance
from viz.objectives.objective import Objective
from viz.passes.score_term import Look, Views
from viz.passes.scorer import Scorer

__all__ = ["Alignment", "channel_weights"]


class Alignment(ScoreTerm):
    """Minus the mean squared differences of sorted features, summed over layers, in place of the score.

    Args:
        target: the layer that the objectives read.
        aligned: layers whose features are compared, in forward order.
        canvas: of the batch.
        top: of each rendering, (patch, channel, y, x) float on 0..255, windows of the canvas.
        relevance: whether channels are weighted by what drives the unit in the patches.
    """

    def __init__(
        self,
        target: Layer,
        aligned: Sequence[Layer],
        canvas: Canvas,
        top: Sequence[Tensor],
        relevance: Relevance = "on",
    ) -> None:
        self.layers, self.canvas, self.top, self.relevance = tuple(aligned), canvas, top, relevance
        self.window_layers = tuple(dict.fromkeys([*(each.name for each in aligned), target.name]))
        self._wanted: list[dict[str, Tensor]] = []
        self._weights: list[dict[str, Tensor]] = []

    def prepare(self, scorer: Scorer, objectives: Sequence[Objective]) -> None:
        """Sort the features of the patches, and weight their channels.

        Args:
            scorer: shows pictures to the network.
            objectives: one per rendering.
        """
        names = [layer.name for layer in self.layers]
        for objective, top in zip(objectives, self.top, strict=True):
            views = scorer.look(top, names)
            self._wanted.append({name: _ordered(views[name].values).mean(0) for name in names})
            self._weights.append(self._relevance_of(scorer.watch.network, top, objective))

    def __call__(
        self, scores: Tensor, views: Views, pictures: Tensor, images: Sequence[int], look: Look
    ) -> Tensor:
        """The negative sum of the distances."""
        total = torch.zeros_like(scores)
        for layer in self.layers:
            wanted, weights = (
                torch.stack([known[image][layer.name] for image in images])
                for known in (self._wanted, self._weights)
            )
            apart = (_ordered(views[layer.name].values) - wanted).square().mean(2)
            total = total - (weights * apart).mean(1)
        return total

    def _relevance_of(self, network: Network, top: Tensor, objective: Objective) -> dict[str, Tensor]:
        before = [layer for layer in self.layers if layer.name != objective.layers[0].name]
        if self.relevance == "off" or not before:
            return {layer.name: top.new_ones(layer.units) for layer in self.layers}
        maps = contribution_maps(network, self.canvas, before, top, objective)
        return {layer.name: channel_weights(maps[layer.name]) for layer in before}


def channel_weights(maps: Tensor) -> Tensor:
    """Weights of channels: the largest contribution of a position, from 0 to 1 in each image, averaged.

    Args:
        maps: (image, unit, y, x) contributions to a unit.

    Returns:
        (unit,) on 0..1; ones where all channels of an image contribute alike.
    """
    largest = maps.amax((2, 3))
    low, high = largest.amin(1, keepdim=True), largest.amax(1, keepdim=True)
    shares = torch.where(high > low, (largest - low) / (high - low).clamp(min=1e-30), 1.0)
    return shares.mean(0)


def _ordered(values: Tensor) -> Tensor:
    """(image, unit, y, x) to (image, unit, position), ascending."""
    return values.float().flatten(2).sort(2).values
