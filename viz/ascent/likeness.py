"""A score term that keeps a rendering like the unit's top patches, in the statistics of features.

A picture that only activates a unit strongly tells little: it is full of what no photograph shows.
So the activation counts only up to a limit set by the unit's best patch, and the mean and deviation
of every channel, at some layers up to the unit's own, are pulled towards their values on the unit's
top patches. The same is asked of a close-up: the patch alone, enlarged, through more of the
network, as somebody sees it who is shown the patch. Statistics of features as a measure of
likeness are those of texture synthesis and style transfer (Gatys et al. 2015; means and deviations,
Li et al. 2017, "Demystifying Neural Style Transfer").

To draw a rendering to the features of a unit's top patches is the idea of VITAL as well, which was
published before (Gorgun, Schiele and Fischer, ICCV 2025, "More Understandable Feature Visualization
through Distribution Alignment and Relevant Information Flow"). It matches sorted features, weighted
by relevance (LRP); here all channels count alike by default. Both are options: `sorted` matching compares
sorted values as VITAL does (`viz.ascent.sorted_features`) in place of means and deviations, and channels of
the window are weighted by what drives the unit in its patches with `relevance` (`viz.ascent.relevance`). With
`focus`, positions of the patches are weighted in the same way (`viz.ascent.focus`). Combinations of
channels (`viz.ascent.mixtures`) and the differences between neighbouring pixels (`viz.ascent.edges`) can be
compared too.

The likeness is that of a caricature: what distinguishes the patches from usual photographs is
exaggerated. People recognise a face sooner in a drawing that does so than in a true one (Brennan
1985, "Caricature Generator"; Rhodes et al. 1987), and another network a unit: see bench/README.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from pipeline.layers.layer import Layer
from pipeline.networks.network import Network
from viz.ascent.focus import Focus, find_focus
from viz.ascent.patch_shares import patch_shares
from viz.ascent.picture_statistics import CLOSE, EDGES, MIXED, PictureStatistics
from viz.ascent.relevance import relevances
from viz.ascent.score_terms import ScoreTerm
from viz.ascent.usual import Keep, Usual, measure_anew
from viz.canvas import Canvas
from viz.choices import Match, Relevance
from viz.objectives.objective import Objective, View, evaluate
from viz.passes.score_term import Look, Views
from viz.passes.scorer import Scorer

__all__ = ["Likeness"]

LEAST_SPREAD = 1e-3
"""Least spread of an objective over photographs."""


class Likeness(ScoreTerm):
    """Scores limited by the best patch, less the distance to the statistics of top patches.

    Args:
        target: the layer that the objectives read.
        window_statistics: layers of the window's statistics.
        close_statistics: layers of the close-up's statistics.
        canvas: of the batch; its box is the effective receptive field.
        top: of each rendering, (patch, channel, y, x) float on 0..255, windows of the canvas.
        usual: gives (image, channel, y, x) windows of any photographs, whose spread is the unit of
            distances.
        activation_weight: of what is missing to the limit.
        reach: the limit, as a share of the best patch's score.
        weight: of the window's statistics.
        close_weight: of the close-up's.
        close_side: of a close-up, in pixels; the whole input's where the network takes no other.
        caricature: factor on the patches' distance from usual photographs; 1 leaves it as it is.
        whole: height and width of the network's input.
        match: what is compared of a channel, `moments` (mean and deviation) or `sorted` values.
        relevance: whether the window's channels are weighted by what drives the unit in its patches.
        weigh: power of a patch's score above the usual score by which the patch counts; 0: all count alike.
        focus: share of the weight of a patch's positions that goes by their contribution to its score.
        mixtures: weight of random combinations of channels, as a share of the weight of the channels.
        edges: weight of the differences between neighbouring pixels.
        keep: keeps what is measured of usual photographs.
    """

    def __init__(
        self,
        target: Layer,
        window_statistics: Sequence[Layer],
        close_statistics: Sequence[Layer],
        canvas: Canvas,
        top: Sequence[Tensor],
        usual: Callable[[], Tensor],
        *,
        activation_weight: float,
        reach: float,
        weight: float,
        close_weight: float,
        close_side: int,
        caricature: float,
        whole: tuple[int, int],
        match: Match = "moments",
        relevance: Relevance = "off",
        weigh: float = 0.0,
        focus: float = 0.0,
        mixtures: float = 0.0,
        edges: float = 0.0,
        keep: Keep = measure_anew,
    ) -> None:
        self.target, self.canvas = target, canvas
        self.window_statistics = tuple(window_statistics)
        self.close_statistics = tuple(close_statistics) if close_weight else ()
        self.top, self.usual = top, usual
        self.activation_weight, self.reach = activation_weight, reach
        self.weight, self.close_weight = weight, close_weight
        self.caricature, self.relevance = caricature, relevance
        self.weigh, self.focus, self.keep = weigh, focus, keep
        self.mixtures, self.edges = mixtures, edges
        self.layers = tuple(
            {each.name: each for each in (*self.window_statistics, *self.close_statistics)}.values()
        )
        self.window_layers = tuple(
            dict.fromkeys([*(each.name for each in self.window_statistics), target.name])
        )
        self.describe = PictureStatistics(
            canvas,
            self.window_statistics,
            self.close_statistics,
            close_side=close_side,
            whole=whole,
            match=match,
            mixtures=mixtures > 0,
            edges=edges > 0,
        )
        self._wanted: list[dict[str, Any]] = []
        self._weights: list[dict[str, Tensor]] = []
        self._spread: dict[str, Any] = {}
        self._limit = torch.empty(0)
        self._unit_spread = torch.empty(0)

    def prepare(self, scorer: Scorer, objectives: Sequence[Objective]) -> None:
        """Measure the patches.

        Args:
            scorer: shows pictures to the network.
            objectives: one per rendering.
        """
        look = scorer.look
        self.describe.fit_close_up(look, self.top[0][:2])
        usual = self._measure_usual(scorer)
        self._spread = usual.spread
        ordinary = self._everywhere(objectives, usual.norm[self.target.name].mean)
        best = []
        for objective, top, least in zip(objectives, self.top, ordinary, strict=True):
            views = look(top, self.window_layers)
            scores = evaluate([objective] * len(top), views)
            best.append(scores.max())
            shares = patch_shares(scores - least, self.weigh) if self.weigh else None
            found = self.describe(views, look, top, self._find_focus(scorer, top, objective))
            self._wanted.append(
                {key: each.beyond(usual.norm[key], self._times(key), shares) for key, each in found.items()}
            )
            self._weights.append(self._relevances(scorer.watch.network, top, objective))
        scales = self._everywhere(objectives, usual.units)
        self._unit_spread = scales.abs().clamp(min=LEAST_SPREAD)
        self._limit = self.reach * torch.stack(best)

    def _everywhere(self, objectives: Sequence[Objective], values: Tensor) -> Tensor:
        """(objective,) scores where the target's units have the same values (unit,) at every position."""
        shown = values.view(1, -1, 1, 1).expand(1, -1, self.target.grid_h, self.target.grid_w)
        views = {self.target.name: View(shown)}
        return torch.cat([evaluate([each], views) for each in objectives])

    def _measure_usual(self, scorer: Scorer) -> Usual:
        """Of usual photographs; photographs are read only where nothing is kept."""

        def measure() -> dict[str, Tensor]:
            look, pictures = scorer.look, self.usual()
            views = look(pictures, self.window_layers)
            return self.describe.usual(views, look, pictures, self.target.name).tensors()

        key = (*self.describe.identity(), self.target.name, scorer.precision, scorer.device.type)
        found = self.keep(repr(key), measure)
        return self.describe.read({name: tensor.to(scorer.device) for name, tensor in found.items()})

    def _relevances(self, network: Network, top: Tensor, objective: Objective) -> dict[str, Tensor]:
        """Weights of the window's channels, by layer; empty where all count alike."""
        if self.relevance == "off":
            return {}
        return relevances(network, self.canvas, self.window_statistics, top, objective)

    def _find_focus(self, scorer: Scorer, top: Tensor, objective: Objective) -> Focus | None:
        """Weights of the patches' positions; None where all count alike."""
        if not self.focus:
            return None
        network, layers = scorer.watch.network, self.window_statistics
        folding = scorer.folding if scorer.precision == "fp32" else None
        return find_focus(network, self.canvas, layers, top, objective, self.focus, folding)

    def __call__(
        self, scores: Tensor, views: Views, pictures: Tensor, images: Sequence[int], look: Look
    ) -> Tensor:
        """The negative weighted sum of what is missing and of the distances."""
        chosen = list(images)
        missing = (self._limit[chosen] - scores).clamp(min=0) / self._unit_spread[chosen]
        total = -self.activation_weight * missing
        for key, found in self.describe(views, look, pictures).items():
            wanted = found.stack([self._wanted[image][key] for image in chosen])
            relevance = scores.new_ones(())
            if self.relevance == "on" and key in self._weights[0]:
                relevance = torch.stack([self._weights[image][key] for image in chosen])
            total = total - self._weight_of(key) * found.distance(wanted, self._spread[key], relevance)
        return total

    def _times(self, key: str) -> float:
        """Factor on the distance from usual photographs; edges are wanted as the patches have them."""
        return 1.0 if key.startswith(EDGES) else self.caricature

    def _weight_of(self, key: str) -> float:
        """Weight of one of the statistics."""
        if key.startswith(EDGES):
            return self.edges / sum(each.startswith(EDGES) for each in self._spread)
        if key.startswith(MIXED):
            return self.mixtures * self._weight_of(key.removeprefix(MIXED))
        if key.startswith(CLOSE):
            return self.close_weight / len(self.close_statistics)
        return self.weight / len(self.window_statistics)
