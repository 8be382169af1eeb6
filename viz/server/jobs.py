"""Renderings that visitors ask for: one at a time in a thread, the others queue."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from pipeline.errors import MaxactError, RenderingStopped
from viz.server.job import Asked, Job

__all__ = ["Jobs", "TooManyJobs"]

MOST_WAITING = 20
"""Jobs that wait at the same time."""

MOST_KEPT = 100
"""Jobs whose outcome is remembered."""


class TooManyJobs(Exception):
    """The queue is full."""


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

    def find(self, atlas: int, number: int) -> Job | None:
        """The job of that number, of an index; None for none."""
        job = self._known.get(number)
        return job if job is not None and job.asked.atlas == atlas else None

    def of_unit(self, atlas: int, ordinal: int, unit: int) -> list[Job]:
        """The jobs of a unit that have not ended, in their order."""
        with self._change:
            return [
                job
                for job in self._known.values()
                if (job.asked.atlas, job.asked.ordinal, job.asked.unit) == (atlas, ordinal, unit)
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
