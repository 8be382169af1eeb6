"""One rendering that was asked for: its state, its scores so far, and a small picture of the last step."""

from __future__ import annotations

import base64
import threading
import time
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from PIL import Image
from torch import Tensor

from pipeline.errors import RenderingStopped
from viz.atlas.pictures import encode_webp, shrink
from viz.recipes.base import Recipe

__all__ = ["ENDED", "Asked", "Job", "Snapshot", "State"]

State = Literal["queued", "running", "done", "failed", "cancelled"]

ENDED: tuple[State, ...] = ("done", "failed", "cancelled")
"""States after which nothing more happens."""

PICTURE_SECONDS = 0.4
"""Time between two pictures of a job."""

SIDE, QUALITY = 192, 60
"""Longer side of a picture in pixels, and its quality."""

SHOWN = 4
"""Pictures of a batch that are shown, side by side: those of the facets of a unit."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A rendering that was asked for.

    Args:
        atlas: number of the index.
        ordinal: of the layer.
        layer: its name.
        unit: of the layer.
        recipe: with its options.
        objective: as the command line writes it.
        seed: of all that is random.
    """

    atlas: int
    ordinal: int
    layer: str
    unit: int
    recipe: Recipe
    objective: str
    seed: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a page is told of a job.

    Args:
        state: of the job.
        version: rises with every change.
        ahead: jobs before it in the queue.
        step: steps that are done.
        steps: of the attempt.
        attempt: 1, or 2 where the first one failed.
        scores: of the attempt, those that were not told yet.
        told: number of scores of this attempt that were told before these.
        picture: address of the picture (data:); empty where it has not changed.
        message: what went wrong, or what was kept.
    """

    state: State
    version: int
    ahead: int
    step: int
    steps: int
    attempt: int
    scores: tuple[float, ...]
    told: int
    picture: str
    message: str


@dataclass(slots=True)
class Job:
    """A rendering in the queue, running, or ended; it is the observer of its own ascent."""

    number: int
    asked: Asked
    state: State = "queued"
    version: int = 0
    step: int = 0
    steps: int = 0
    attempt: int = 1
    scores: list[float] = field(default_factory=list)
    picture: str = ""
    pictured: int = 0
    message: str = ""
    cancelled: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)
    _drawn: float = -1e9

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen."""
        return self.state in ENDED

    def see(self, step: int, steps: int, scores: Tensor, pictures: Tensor) -> None:
        """Note one step; ends the ascent of a job that was cancelled.

        Args:
            step, steps, scores, pictures: see `viz.ascent.loop.Observer`.

        Raises:
            RenderingStopped: when it was cancelled.
        """
        if self.cancelled:
            raise RenderingStopped("cancelled")
        now, picture = time.monotonic(), ""
        if now - self._drawn >= PICTURE_SECONDS or step + 1 == steps:
            self._drawn, picture = now, _draw(pictures[:SHOWN])
        with self.lock:
            if step < self.step:  # a second attempt, or another batch of the same unit
                self.attempt += 1
                self.scores.clear()
            self.version += 1
            self.step, self.steps = step + 1, steps
            self.scores.append(float(scores.mean()))
            if picture:
                self.picture, self.pictured = picture, self.version

    def change(self, state: State, message: str = "") -> None:
        """Go over to another state."""
        with self.lock:
            self.state, self.message = state, message
            self.version += 1

    def snapshot(self, since: int, attempt: int, told: int, ahead: int) -> Snapshot:
        """What has changed.

        Args:
            since: version of the last snapshot, -1 for none.
            attempt: of the last snapshot.
            told: number of scores told of that attempt.
            ahead: jobs before it in the queue.
        """
        with self.lock:
            known = min(told, len(self.scores)) if attempt == self.attempt else 0
            return Snapshot(
                self.state,
                self.version,
                ahead,
                self.step,
                self.steps,
                self.attempt,
                tuple(self.scores[known:]),
                known,
                self.picture if self.pictured > since else "",
                self.message,
            )


def _draw(pictures: Tensor) -> str:
    """Pictures (image, channel, y, x) on 0..255, side by side, as an address that needs no request."""
    pixels = pictures.float().clamp(0, 255).round().to("cpu").numpy().astype(np.uint8)
    row = np.concatenate([each.transpose(1, 2, 0) for each in pixels], axis=1)
    image = Image.fromarray(row.squeeze(2) if row.shape[2] == 1 else row).convert("RGB")
    data = encode_webp(shrink(image, SIDE * len(pixels)), QUALITY)
    return f"data:image/webp;base64,{base64.b64encode(data).decode('ascii')}"
