"""Progress of long work: a protocol that the library reports to, and a reporter for the console.

Library code never prints: it takes a `Reporter`, opens a task and advances it. The command line
passes a `ConsoleReporter`, which shows a bar on a terminal, or writes a line every few seconds.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Protocol, TextIO

from pipeline.progress_notebook import NotebookLine, in_notebook
from pipeline.visible import visible
from pipeline.working_copies import shown

__all__ = [
    "ConsoleReporter",
    "LogTask",
    "Reporter",
    "Silent",
    "SilentTask",
    "Task",
    "readable_bytes",
    "readable_count",
    "readable_duration",
    "readable_numbers",
]

LOG_INTERVAL_S = 5.0
"""Seconds between two lines when standard error is not a terminal."""


class Task(Protocol):
    """A piece of long work in progress."""

    def advance(self, count: int = 1) -> None:
        """Report that `count` more units of work are done."""

    def describe(self, text: str) -> None:
        """Report, in a few words, what is being worked on."""

    def expect(self, total: int | None) -> None:
        """Report the number of units that the task is now expected to have; None when not known."""

    def tell(self, **numbers: int) -> None:
        """Report other numbers by name, such as `shards=3` that are done or `nodes=2` at work."""


class Reporter(Protocol):
    """Receives the progress of work."""

    def task(self, title: str, total: int | None, unit: str) -> AbstractContextManager[Task]:
        """Open a task of `total` units (None when not known) for the length of the context."""

    def note(self, text: str) -> None:
        """Report a message of one line."""


class SilentTask:
    """A task that discards its progress; those that need a part of it override that method."""

    def advance(self, count: int = 1) -> None:
        """Discard the count."""

    def describe(self, text: str) -> None:
        """Discard the text."""

    def expect(self, total: int | None) -> None:
        """Discard the total."""

    def tell(self, **numbers: int) -> None:
        """Discard the numbers."""


class Silent:
    """A reporter that discards everything: the default of every library function."""

    @contextmanager
    def task(self, title: str, total: int | None, unit: str) -> Iterator[Task]:
        """A task that discards its progress."""
        yield SilentTask()

    def note(self, text: str) -> None:
        """Discard the message."""


def readable_duration(seconds: float) -> str:
    """`75` becomes `1:15`, `3675` becomes `1:01:15`."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def readable_bytes(number: int) -> str:
    """A number of bytes in powers of 1,000, such as `7.7 GB`."""
    size, units = float(number), ["bytes", "kB", "MB", "GB", "TB"]
    while round(size, 1) >= 1000 and len(units) > 1:
        size, units = size / 1000, units[1:]
    return f"{number:,} bytes" if units[0] == "bytes" else f"{size:.1f} {units[0]}"


def readable_count(number: int, noun: str) -> str:
    """`1 layer`, `2 layers`, `1,024 images`: a number and its noun, given in the singular."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def readable_numbers(numbers: Mapping[str, int]) -> str:
    """`{"shards": 1, "nodes": 2}` becomes `1 shard, 2 nodes`; names are plurals."""
    return ", ".join(
        readable_count(number, "retry" if number == 1 and name == "retries" else name.removesuffix("s"))
        if number == 1
        else f"{number:,} {name}"
        for name, number in numbers.items()
    )


@dataclass(slots=True)
class LogTask:
    """Writes a line every `LOG_INTERVAL_S` seconds.

    The time left follows from the rate since the first step, which is slower than the others: it
    loads, compiles and allocates. Before the second step there is none.
    """

    title: str
    total: int | None
    unit: str
    stream: TextIO
    started: float
    last: float
    done: int = 0
    text: str = ""
    first: tuple[float, int] | None = None
    numbers: dict[str, int] = field(default_factory=dict)

    def advance(self, count: int = 1) -> None:
        """Count, and write a line if the last one is long ago."""
        self.done += count
        now = time.monotonic()
        if self.done:
            self.first = self.first or (now, self.done)
        if now - self.last >= LOG_INTERVAL_S:
            self.last = now
            self.write(now)

    def describe(self, text: str) -> None:
        """Keep the text for the next line."""
        self.text = text

    def expect(self, total: int | None) -> None:
        """Keep the total for the next line."""
        self.total = total

    def tell(self, **numbers: int) -> None:
        """Keep the numbers for the next line."""
        self.numbers |= numbers

    def write(self, now: float) -> None:
        """Write a line."""
        print(self.line(now), file=self.stream, flush=True)

    @property
    def unfinished(self) -> bool:
        """Whether the total is known and not reached."""
        return self.total is not None and self.done < self.total

    def rate(self, now: float) -> float:
        """Units per second since the first step; at the end, since the start."""
        since, before = self.first if self.unfinished and self.first else (self.started, 0)
        return (self.done - before) / max(now - since, 1e-9)

    def line(self, now: float) -> str:
        """The progress in one line, without invisible characters."""
        unfinished, rate = self.unfinished, self.rate(now)
        line = f"{self.title}: {self.done:,}"
        if self.total is not None:
            line += f" of {self.total:,}"
        line += f" {self.unit}"
        if rate > 0:
            line += f", {rate:.1f} {self.unit}/s"
        if self.total is not None and unfinished and rate > 0:
            line += f", {readable_duration((self.total - self.done) / rate)} left"
        elif not unfinished:
            line += f", {readable_duration(now - self.started)}"
        if told := ", ".join(filter(None, (readable_numbers(self.numbers), self.text))):
            line += f" ({told})"
        return visible(line)


@dataclass(slots=True)
class _NotebookTask(LogTask):
    """Replaces one line under the cell of a notebook."""

    shown: NotebookLine | None = None

    def advance(self, count: int = 1) -> None:
        self.done += count
        now = time.monotonic()
        self.first = self.first or (now, self.done)
        if self.shown:
            self.shown.write(self.line(now), self.done, self.total)

    def write(self, now: float) -> None:
        if self.shown:
            self.shown.write(self.line(now), self.done, self.total, now=True)


class ConsoleReporter:
    """Shows a bar on a terminal or in a notebook, and writes a line every few seconds otherwise.

    Args:
        stream: by default standard error; a bar in a notebook is for this default only.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = sys.stderr if stream is None else stream
        self._notebook = stream is None and in_notebook()

    def note(self, text: str) -> None:
        """Write the message, on one line, with escapes for invisible characters."""
        print(visible(shown(text)), file=self.stream, flush=True)

    @contextmanager
    def task(self, title: str, total: int | None, unit: str) -> Iterator[Task]:
        """Show the task until the context is left."""
        if self.stream.isatty():
            from pipeline.progress_bar import open_bar

            with open_bar(self.stream, title, total, unit) as task:
                yield task
            return
        now = time.monotonic()
        log = LogTask(title, total, unit, self.stream, now, now)
        if self._notebook:
            log = _NotebookTask(title, total, unit, self.stream, now, now, shown=NotebookLine())
        yield log
        log.write(time.monotonic())
