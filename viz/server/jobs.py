"""Renderings that visitors ask for: one at a time in a thread, the others queue.

A job keeps what pages show of it: its state, its scores so far, and a small picture of the last step.
"""

from __future__ import annotations

import base64
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from PIL import Image
from torch import Tensor

from pipeline.errors import MaxactError, RenderingStopped
from viz.atlas.pictures import encode_webp, shrink
from viz.recipes.base import Recipe

__all__ = ["Asked", "Job", "Jobs", "Snapshot", "State", "TooManyJobs"]

State = Literal["queued", "running", "done", "failed", "cancelled"]

ENDED: tuple[State, ...] = ("done", "failed", "cancelled")

MOST_WAITING = 20
"""Jobs that wait at the same time."""

MOST_KEPT = 100
"""Jobs whose outcome is remembered."""

PICTURE_SECONDS = 0.4
"""Time between two pictures of a job."""

SIDE, QUALITY = 192, 60
"""Longer side of a picture in pixels, and its quality."""

SHOWN = 4
"""Pictures of a batch that are shown, side by side: those of the facets of a unit."""


class TooManyJobs(Exception):
    """The queue is full."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A rendering that was asked for.

    Args:
        book: number of the index.
        ordinal: of the layer.
        layer: its name.
        unit: of the layer.
        recipe: with its options.
        objective: as the command line writes it.
        seed: of all that is random.
    """

    book: int
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


class Jobs:
    """The queue, and the thread that works it off.

    Args:
        render: renders what was asked for, with the job as observer; returns a line on what was kept.
    """

    def __init__(self, render: Callable[[Job], str]) -> None:
        self._render = render
        self._waiting: deque[Job] = deque()
        self._known: dict[int, Job] = {}
        self._count = 0
        self._change = threading.Condition()
        self._closed = False
        self._thread: threading.Thread | None = None

    @property
    def closed(self) -> bool:
        """Whether the server is about to end."""
        return self._closed

    def add(self, asked: Asked) -> Job:
        """Queue a rendering.

        Raises:
            TooManyJobs: when too many wait.
        """
        with self._change:
            if len(self._waiting) >= MOST_WAITING or self._closed:
                raise TooManyJobs(f"{len(self._waiting)} renderings wait; try again when some have ended")
            self._count += 1
            job = Job(self._count, asked)
            self._known[job.number] = job
            self._waiting.append(job)
            self._forget()
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="maxact-render", daemon=True)
                self._thread.start()
            self._change.notify_all()
        return job

    def find(self, book: int, number: int) -> Job | None:
        """The job of that number, of an index; None for none."""
        job = self._known.get(number)
        return job if job is not None and job.asked.book == book else None

    def of_unit(self, book: int, ordinal: int, unit: int) -> list[Job]:
        """The jobs of a unit that have not ended, in their order."""
        with self._change:
            return [
                job
                for job in self._known.values()
                if (job.asked.book, job.asked.ordinal, job.asked.unit) == (book, ordinal, unit)
                and not job.ended
            ]

    def ahead(self, job: Job) -> int:
        """Number of jobs before a job that waits."""
        with self._change:
            if job not in self._waiting:
                return 0
            running = any(each.state == "running" for each in self._known.values())
            return list(self._waiting).index(job) + running

    def cancel(self, job: Job) -> None:
        """End a job: at once if it waits, else after its next step."""
        with self._change:
            job.cancelled = True
            if job in self._waiting:
                self._waiting.remove(job)
                job.change("cancelled", "cancelled before it began")

    def close(self, seconds: float) -> None:
        """End all jobs, and wait so long for the one that runs."""
        with self._change:
            self._closed = True
            for job in [*self._waiting]:
                job.change("cancelled", "the server has ended")
            self._waiting.clear()
            for job in self._known.values():
                job.cancelled = True
            self._change.notify_all()
        if self._thread is not None:
            self._thread.join(seconds)

    def _forget(self) -> None:
        """Drop the oldest jobs that have ended."""
        ended = [number for number, job in self._known.items() if job.ended]
        for number in ended[: max(0, len(self._known) - MOST_KEPT)]:
            del self._known[number]

    def _work(self) -> None:
        while True:
            with self._change:
                while not self._waiting and not self._closed:
                    self._change.wait()
                if self._closed:
                    return
                job = self._waiting.popleft()
                job.change("running")
            self._run(job)

    def _run(self, job: Job) -> None:
        try:
            message = self._render(job)
        except RenderingStopped:
            job.change("cancelled", "cancelled; nothing was kept")
        except MaxactError as error:
            job.change("failed", str(error))
        except Exception as error:  # of the network's own code, say: the thread goes on with the next
            job.change("failed", f"{type(error).__name__}: {error}")
        else:
            job.change("done", message)
