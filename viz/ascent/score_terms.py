"""Extra score terms: diversity among renderings, distance to the start.

A term changes the scores of a batch before they are differentiated; see `viz.passes.score_term` for
what the scorer asks of it. `viz.ascent.likeness` has one more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.layers.layer import Layer
from viz.ascent.random_views import ViewOf
from viz.objectives.objective import Objective
from viz.passes.score_term import Look, Views
from viz.passes.scorer import Scorer

__all__ = ["Distance", "Diversity", "ScoreTerm"]


class ScoreTerm:
    """Changes the scores of a batch.

    Attributes:
        group: images next to each other in the batch that must share a pass.
        layers: read besides those of the objectives.
        window_layers: names of those that every pass over the pictures reads.
    """

    group = 1
    layers: Sequence[Layer] = ()
    window_layers: Sequence[str] = ()

    def prepare(self, scorer: Scorer, objectives: Sequence[Objective]) -> None:
        """Measure what the term needs, once before the first step.

        Args:
            scorer: of the network.
            objectives: one per image of the batch.
        """

    def before_step(
        self, scorer: Scorer, view: ViewOf, objectives: Sequence[Objective], images: Sequence[int]
    ) -> None:
        """Measure what the term needs in the step that follows.

        Args:
            scorer: of the network.
            view: of the step.
            objectives: one per active image.
            images: numbers of the active images in the batch.
        """

    def __call__(
        self, scores: Tensor, views: Views, pictures: Tensor, images: Sequence[int], look: Look
    ) -> Tensor:
        """The scores (image,) with the term; arguments as in `viz.passes.score_term`."""
        raise NotImplementedError

    def state(self) -> dict[str, Any]:
        """What was measured in earlier steps and is not measured again."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from what `state` gave."""


class Diversity(ScoreTerm):
    """Minus the similarity of a unit's renderings to each other, as in Lucid's `diversity`.

    The similarity is the cosine of Gram matrices; the weight is in units of the score.

    Args:
        layer: whose features are compared.
        weight: of the mean similarity to the others.
        group: renderings of a unit, next to each other in the batch.
    """

    def __init__(self, layer: str, weight: float, group: int) -> None:
        self.layer, self.weight, self.group = layer, weight, group

    def __call__(
        self, scores: Tensor, views: Views, pictures: Tensor, images: Sequence[int], look: Look
    ) -> Tensor:
        """Scores less the similarity to the other renderings of the same unit."""
        features = views[self.layer].values.float().flatten(2)
        grams = (features @ features.transpose(1, 2)).flatten(1)
        grams = F.normalize(grams, dim=1).view(-1, self.group, grams.shape[1])
        similarity = ((grams @ grams.transpose(1, 2)).sum(2) - 1).flatten() / (self.group - 1)
        return scores - self.weight * (scores.detach().abs() + 1) * similarity


class Distance(ScoreTerm):
    """Minus the relative squared distance of a picture's features to those of its start.

    Args:
        layer: whose features are compared.
        weight: of the distance, in units of the start's score.
        starts: (image, channel, y, x) on 0..255, for all images of the batch.
    """

    def __init__(self, layer: str, weight: float, starts: Tensor) -> None:
        self.layer, self.weight, self.starts = layer, weight, starts
        self.features: dict[int, Tensor] = {}
        self.scores: dict[int, Tensor] = {}

    def before_step(
        self, scorer: Scorer, view: ViewOf, objectives: Sequence[Objective], images: Sequence[int]
    ) -> None:
        """Measure the features of the starts in the view in which the pictures are seen next."""
        starts = view(self.starts[images].to(scorer.device))
        measured = scorer.features(starts, objectives, self.layer)
        for image, (score, features) in zip(images, measured, strict=True):
            self.features[image] = features
            self.scores.setdefault(image, score.abs())

    def state(self) -> dict[str, Any]:
        """The scores of the starts in their first view."""
        return {"scores": self.scores}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue with these scores."""
        self.scores = state["scores"]

    def __call__(
        self, scores: Tensor, views: Views, pictures: Tensor, images: Sequence[int], look: Look
    ) -> Tensor:
        """Scores less the distance."""
        wanted = torch.stack([self.features[image] for image in images])
        far = (views[self.layer].values.float() - wanted).square().flatten(1).sum(1)
        far = far / wanted.square().flatten(1).sum(1).clamp(min=1e-12)
        return scores - self.weight * torch.stack([self.scores[image] for image in images]) * far
