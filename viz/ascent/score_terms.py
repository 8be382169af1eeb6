"""What may change a batch's scores: likeness to other renderings, distance to a start."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.layers.layer import Layer
from viz.objectives.objective import Objective
from viz.passes.score_term import Look, Views

if TYPE_CHECKING:
    from viz.passes.scorer import Scorer

__all__ = ["Near", "Variety"]


class Variety:
    """Drives the renderings of a unit apart: minus the likeness of their Gram matrices.

    The likeness is the cosine, as in Lucid's `diversity`; the weight is in units of the score.

    Args:
        layer: where it is read.
        weight: of the mean likeness to the others.
        group: renderings of a unit, next to each other in the batch.
    """

    layers: tuple[Layer, ...] = ()
    window_layers: tuple[str, ...] = ()

    def __init__(self, layer: str, weight: float, group: int) -> None:
        self.layer, self.weight, self._group = layer, weight, group

    @property
    def group(self) -> int:
        """Renderings of a unit."""
        return self._group

    def __call__(
        self, scores: Tensor, views: Views, pictures: Tensor, images: Sequence[int], look: Look
    ) -> Tensor:
        """Scores less the likeness to the other renderings of the same unit."""
        features = views[self.layer].values.float().flatten(2)
        grams = (features @ features.transpose(1, 2)).flatten(1)
        grams = F.normalize(grams, dim=1).view(-1, self.group, grams.shape[1])
        likeness = ((grams @ grams.transpose(1, 2)).sum(2) - 1).flatten() / (self.group - 1)
        return scores - self.weight * (scores.detach().abs() + 1) * likeness


class Near:
    """Keeps pictures near their starts: minus the relative squared distance of features.

    Args:
        layer: where it is read.
        weight: of the distance, in units of the start's score.
    """

    group = 1
    layers: tuple[Layer, ...] = ()
    window_layers: tuple[str, ...] = ()

    def __init__(self, layer: str, weight: float) -> None:
        self.layer, self.weight = layer, weight
        self.features: dict[int, Tensor] = {}
        self.scores: dict[int, Tensor] = {}

    def look(
        self,
        scorer: Scorer,
        starts: Tensor,
        objectives: Sequence[Objective],
        images: Sequence[int],
    ) -> None:
        """Take the starts, seen as the pictures will be seen next, as what to stay near to."""
        for image, (score, features) in zip(
            images, scorer.features(starts, objectives, self.layer), strict=True
        ):
            self.features[image] = features
            self.scores.setdefault(image, score.abs())

    def __call__(
        self, scores: Tensor, views: Views, pictures: Tensor, images: Sequence[int], look: Look
    ) -> Tensor:
        """Scores less the distance."""
        wanted = torch.stack([self.features[image] for image in images])
        far = (views[self.layer].values.float() - wanted).square().flatten(1).sum(1)
        far = far / wanted.square().flatten(1).sum(1).clamp(min=1e-12)
        return scores - self.weight * torch.stack([self.scores[image] for image in images]) * far
