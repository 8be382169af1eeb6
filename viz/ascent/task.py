"""What a climb is given, what it gives back, and the record it keeps on the way.

Nothing in a climb mixes the images of a batch, and every draw comes from an image's own generator,
so that a rendering does not depend on what else is rendered beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Generator, Tensor

from viz.ascent.likeness import Patches
from viz.canvas import Canvas
from viz.objectives.objective import Objective
from viz.passes.scorer import Scorer
from viz.pixels import enlarge
from viz.priors.prior import Prior

__all__ = ["Climb", "OnStep", "Record", "Supplies", "Task"]

SMOOTHED_STEPS = 8
"""Scores are averaged over this many steps before it is asked whether they still rise."""

LEAST_GAIN = 0.01
"""A rise of less than this share of all that was gained so far is no rise."""

OnStep = Callable[[int], None]
"""Told after each step how many image-steps were done."""


@dataclass(frozen=True, slots=True)
class Supplies:
    """What some recipes take from the dataset or the user.

    Args:
        starts: (image, channel, y, x) float on 0..255, where each image starts.
        patches: of the dataset, which renderings should be like.
        magnitudes: (channel, y, x // 2 + 1) mean spectrum of the dataset at the picture's size.
        mean_colour: (channel,) on 0..255.
        prior: the generator whose code climbs.
    """

    starts: Tensor | None = None
    patches: Patches | None = None
    magnitudes: Tensor | None = None
    mean_colour: Tensor = field(default_factory=lambda: torch.full((3,), 127.5))
    prior: Prior | None = None


@dataclass(frozen=True, slots=True)
class Task:
    """A batch to render.

    Args:
        scorer: the network.
        canvas: shared by the batch.
        channels: of a picture.
        objectives: one per image.
        generators: one per image.
        on_step: told of progress.
        supplies: what the recipe takes from the dataset.
    """

    scorer: Scorer
    canvas: Canvas
    channels: int
    objectives: Sequence[Objective]
    generators: Sequence[Generator]
    on_step: OnStep
    supplies: Supplies = field(default_factory=Supplies)

    def objectives_of(self, images: Sequence[int]) -> list[Objective]:
        """The objectives of some images of the batch."""
        return [self.objectives[image] for image in images]


@dataclass(frozen=True, slots=True)
class Climb:
    """What came out of a batch.

    Args:
        pictures: (image, channel, y, x) float on 0..255, of the last step.
        best: likewise, of each image's best step.
        traces: for each image the scores, each before its step was taken.
        opacity: (image, 1, y, x) on 0..255 where a recipe knows how much each pixel mattered.
    """

    pictures: Tensor
    best: Tensor
    traces: tuple[tuple[float, ...], ...]
    opacity: Tensor | None = None


class Record:
    """Traces, each image's best picture so far, and which images have finished.

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
        """Note the scores (active,) of pictures (active, channel, y, x), before they step."""
        for place, (image, score) in enumerate(zip(self.active, scores.tolist(), strict=True)):
            self.traces[image].append(score)
            if score > self._high[image]:
                self._high[image] = score
                self.best[image] = pictures[place].detach().clone()

    def settle(self, picture_of: Callable[[int], Tensor]) -> list[int] | None:
        """Let images that have stopped rising go.

        Args:
            picture_of: the picture now of an active image, by its place among them.

        Returns:
            Places of those that stay, None when all do.
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

    def finish(self, pictures: Tensor | None, opacity: Tensor | None = None) -> Climb:
        """Close the record with the pictures of the images still active."""
        if pictures is not None:
            for image, picture in zip(self.active, pictures, strict=True):
                self.last[image] = picture.detach()
        images = range(len(self.traces))
        last = torch.stack([self.last[image] for image in images])
        size = (last.shape[2], last.shape[3])
        best = [enlarge(self.best[image][None], *size)[0] for image in images]
        traces = tuple(tuple(trace) for trace in self.traces)
        return Climb(last, torch.stack(best), traces, opacity)

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
