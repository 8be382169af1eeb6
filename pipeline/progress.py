"""Progress of long work, as a small protocol the library talks to and the command line shows.

Library code never prints: it is handed a `Reporter`, opens a task and advances it. The command
line hands it a bar on a terminal, or a line every few seconds in a log.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol, TextIO

__all__ = ["ConsoleReporter", "Reporter", "Silent", "Task", "readable_duration"]

LOG_INTERVAL_S = 5.0
"""Seconds between two lines when standard error is not a terminal."""


class Task(Protocol):
    """One piece of long work under way."""

    def advance(self, count: int = 1) -> None:
        """Say that `count` more units of work are done."""

    def describe(self, text: str) -> None:
        """Say, in a few words, what is being worked on now."""

    def expect(self, total: int | None) -> None:
        """Say of how many units the task now seems to be; None when that is not known."""


class Reporter(Protocol):
    """Where work reports to."""

    def task(self, title: str, total: int | None, unit: str) -> AbstractContextManager[Task]:
        """Open a task of `total` units (None when not known), closed on leaving the context."""

    def note(self, text: str) -> None:
        """Say one thing worth reading, once."""


class _SilentTask:
    def advance(self, count: int = 1) -> None: ...

    def describe(self, text: str) -> None: ...

    def expect(self, total: int | None) -> None: ...


class Silent:
    """A reporter that says nothing: the default of every library function."""

    @contextmanager
    def task(self, title: str, total: int | None, unit: str) -> Iterator[Task]:
        """A task nobody watches."""
        yield _SilentTask()

    def note(self, text: str) -> None:
        """Dropped."""


def readable_duration(seconds: float) -> str:
    """`75` becomes `1:15`, `3675` becomes `1:01:15`."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


@dataclass(slots=True)
class _LogTask:
    """Writes a line every `LOG_INTERVAL_S` seconds."""

    title: str
    total: int | None
    unit: str
    stream: TextIO
    started: float
    last: float
    done: int = 0
    text: str = ""

    def advance(self, count: int = 1) -> None:
        self.done += count
        now = time.monotonic()
        if now - self.last >= LOG_INTERVAL_S:
            self.last = now
            self.write(now)

    def describe(self, text: str) -> None:
        self.text = text

    def expect(self, total: int | None) -> None:
        self.total = total

    def write(self, now: float) -> None:
        rate = self.done / max(now - self.started, 1e-9)
        line = f"{self.title}: {self.done:,}"
        if self.total is not None:
            line += f" of {self.total:,}"
        line += f" {self.unit}, {rate:.1f} {self.unit}/s"
        if self.total is not None and rate > 0 and self.done < self.total:
            line += f", {readable_duration((self.total - self.done) / rate)} left"
        elif self.total is None or self.done >= self.total:
            line += f", {readable_duration(now - self.started)}"
        if self.text:
            line += f" ({self.text})"
        print(line, file=self.stream, flush=True)


class ConsoleReporter:
    """A rich bar on a terminal, a line every few seconds otherwise; both on standard error."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = sys.stderr if stream is None else stream

    def note(self, text: str) -> None:
        """Write one line."""
        print(text, file=self.stream, flush=True)

    @contextmanager
    def task(self, title: str, total: int | None, unit: str) -> Iterator[Task]:
        """Show the task until the context is left."""
        if self.stream.isatty():
            with self._bar(title, total, unit) as task:
                yield task
            return
        now = time.monotonic()
        task = _LogTask(title, total, unit, self.stream, now, now)
        yield task
        task.write(time.monotonic())

    @contextmanager
    def _bar(self, title: str, total: int | None, unit: str) -> Iterator[Task]:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            ProgressColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )
        from rich.progress import Task as RichTask
        from rich.text import Text

        class Rate(ProgressColumn):
            def render(self, task: RichTask) -> Text:
                return Text(f"{task.speed or 0:.1f} {unit}/s")

        bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            Rate(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[text]}"),
            console=Console(file=self.stream),
        )
        with bar:
            number = bar.add_task(title, total=total, text="")

            class BarTask:
                def advance(self, count: int = 1) -> None:
                    bar.advance(number, count)

                def describe(self, text: str) -> None:
                    bar.update(number, text=text)

                def expect(self, total: int | None) -> None:
                    bar.update(number, total=total)

            yield BarTask()
