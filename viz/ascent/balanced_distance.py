"""A score term that holds pictures near their starts, balanced against the score by gradients.

As in feature accentuation (Hamblin et al. 2024): the distance of features in a layer before the unit's own,
under the same crops, times the ratio of the sums of absolute gradients of score and distance.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pipeline.layers.layer import Layer
from viz.ascent.random_views import ViewOf
from viz.ascent.score_terms import ScoreTerm
from viz.objectives.objective import Objective
from viz.passes.score_term import Look, Views
from viz.passes.scorer import Scorer

__all__ = ["BalancedDistance"]

MOVED = 1e-9
"""Share of the squared size of features below which a squared distance is rounding."""


class BalancedDistance(ScoreTerm):
    """Minus the Euclidean distance of a picture's features to those of its start, in the same views.

    The balance is measured once, in the first step in which a picture differs from its start, by
    gradients with respect to the views. The published code takes those with respect to phases and
    magnitudes, and adds other noise to the start than to the picture, which the distance then contains.

    Args:
        layer: whose features are compared.
        weight: of the distance; 1 is as strong as the score.
        starts: (image, channel, y, x) on 0..255, for all images of the batch.
        copies: views of a picture in a step.
    """

    def __init__(self, layer: Layer, weight: float, starts: Tensor, copies: int) -> None:
        self.layers, self.window_layers, self.group = (layer,), (layer.name,), copies
        self.layer, self.weight, self.starts = layer, weight, starts
        self._features: dict[int, Tensor] = {}
        self._balance: dict[int, float] = {}

    def before_step(
        self, scorer: Scorer, view: ViewOf, objectives: Sequence[Objective], images: Sequence[int]
    ) -> None:
        """Measure the features of the starts in the views in which the pictures are seen next."""
        seen = view(self.starts[images].to(scorer.device))
        repeated = [objective for objective in objectives for _ in range(self.group)]
        found = torch.stack([features for _, features in scorer.features(seen, repeated, self.layer.name)])
        self._features = dict(zip(images, torch.split(found, self.group), strict=True))

    def __call__(
        self, scores: Tensor, views: Views, pictures: Tensor, images: Sequence[int], look: Look
    ) -> Tensor:
        """The scores less the distances."""
        shown = list(images)[:: self.group]
        wanted = torch.cat([self._features[image] for image in shown])
        apart = (views[self.layer.name].values.float() - wanted).flatten(1).square().sum(1)
        # The slope of a root at 0 is infinite, and that of a rounding error has no meaning.
        moved = apart > MOVED * wanted.flatten(1).square().sum(1)
        far = torch.where(moved, apart.where(moved, 1.0).sqrt(), 0.0)
        if not all(image in self._balance for image in shown):
            self._measure_balance(scores, far, pictures, shown)
        balance = [self._balance.get(image, 0.0) for image in shown for _ in range(self.group)]
        return scores - self.weight * scores.new_tensor(balance) * far

    def state(self) -> dict[str, Any]:
        """The balance of every image that has one."""
        return {"balance": self._balance}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue with these."""
        self._balance = state["balance"]

    def _measure_balance(self, scores: Tensor, far: Tensor, pictures: Tensor, shown: Sequence[int]) -> None:
        slopes = [
            torch.autograd.grad(each.sum(), pictures, retain_graph=True)[0].abs().flatten(1).sum(1)
            for each in (scores, far)
        ]
        of_score, of_far = (each.view(len(shown), -1).sum(1).tolist() for each in slopes)
        for image, up, away in zip(shown, of_score, of_far, strict=True):
            if away > 0 and image not in self._balance:
                self._balance[image] = up / away
