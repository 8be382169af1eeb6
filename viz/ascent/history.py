"""What is noted during an ascent: scores, each image's best picture, which images have finished."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from viz.pixels import enlarge

__all__ = ["AscentResult", "History"]

SMOOTHED_STEPS = 8
"""Scores are averaged over this many steps before they are compared."""

LEAST_GAIN = 0.01
"""A rise counts when it is more than this share of all that was gained so far."""


@dataclass(frozen=True, slots=True)
class AscentResult:
    """What an ascent gives for a batch.

    Args:
        pictures: (image, channel, y, x) float on 0..255, of the last step.
        best: likewise, of each image's best step.
        traces: for each image its scores, each taken before the step of the optimiser.
        alpha: (image, 1, y, x) opacity on 0..255, for recipes that save one.
        importance: (image, 1, y, x) mean absolute gradient by each pixel, summed over the steps,
            where the ascent keeps it.
    """

    pictures: Tensor
    best: Tensor
    traces: tuple[tuple[float, ...], ...]
    alpha: Tensor | None = None
    importance: Tensor | None = None


class History:
    """Traces, each image's best picture so far, and which images are still optimised.

    Args:
        images: in the batch.
        patience: an image is finished when its smoothed score has not risen for this many steps;
            0 means never.
    """

    def __init__(self, images: int, patience: int = 0) -> None:
        self.traces: list[list[float]] = [[] for _ in range(images)]
        self.best: dict[int, Tensor] = {}
        self.last: dict[int, Tensor] = {}
        self.patience = patience
        self.active = list(range(images))
        self._high = [-torch.inf] * images
        self._smoothed = [(-torch.inf, 0)] * images

    def add(self, scores: Tensor, pictures: Tensor) -> None:
        """Note the scores (active,) of pictures (active, channel, y, x)."""
        for place, (image, score) in enumerate(zip(self.active, scores.tolist(), strict=True)):
            self.traces[image].append(score)
            if score > self._high[image]:
                self._high[image] = score
                self.best[image] = pictures[place].detach().clone()

    def drop_finished(self, picture_of: Callable[[int], Tensor]) -> list[int] | None:
        """Take the images whose scores no longer rise out of the active ones.

        Args:
            picture_of: the final picture of an active image, by its place among them.

        Returns:
            Places of those that stay active; None when all do.
        """
        if not self.patience:
            return None
        stay = [place for place, image in enumerate(self.active) if self._rises(image)]
        if len(stay) == len(self.active):
            return None
        for place, image in enumerate(self.active):
            if place not in stay:
                self.last[image] = picture_of(place).detach().clone()
        self.active = [self.active[place] for place in stay]
        return stay

    def state(self) -> dict[str, Any]:
        """All that was noted."""
        return {
            "traces": self.traces,
            "best": self.best,
            "last": self.last,
            "active": self.active,
            "high": self._high,
            "smoothed": self._smoothed,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from what `state` gave."""
        self.traces, self.best, self.last = state["traces"], state["best"], state["last"]
        self.active, self._high, self._smoothed = state["active"], state["high"], state["smoothed"]

    def finish(self, pictures: Tensor | Sequence[Tensor], importance: Tensor | None = None) -> AscentResult:
        """The result, given the pictures (active, channel, y, x) of the images still active."""
        for image, picture in zip(self.active, pictures, strict=True):
            self.last[image] = picture.detach()
        images = range(len(self.traces))
        last = torch.stack([self.last[image] for image in images])
        size = (last.shape[2], last.shape[3])
        best = [enlarge(self.best[image][None], *size)[0] for image in images]
        traces = tuple(tuple(trace) for trace in self.traces)
        return AscentResult(last, torch.stack(best), traces, importance=importance)

    def _rises(self, image: int) -> bool:
        trace = self.traces[image]
        if len(trace) < SMOOTHED_STEPS:
            return True
        now = sum(trace[-SMOOTHED_STEPS:]) / SMOOTHED_STEPS
        high, step = self._smoothed[image]
        gained = max(high - trace[0], 0.0)
        if high == -torch.inf or now > high + LEAST_GAIN * gained:
            self._smoothed[image] = (now, len(trace))
            return True
        return len(trace) - step < self.patience
