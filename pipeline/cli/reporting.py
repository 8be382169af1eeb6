"""Progress of commands: shown on standard error, and the place where a lost Ctrl-C is found again."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from pipeline.cli.interrupts import was_interrupted
from pipeline.progress import ConsoleReporter, Reporter, Task

__all__ = ["StoppableReporter", "console_reporter"]


def console_reporter(*, as_json: bool = False) -> Reporter:
    """What shows the progress of a command: lines or a bar for people, or JSON for programs."""
    if as_json:
        from pipeline.progress_json import JsonReporter

        return StoppableReporter(JsonReporter())
    return StoppableReporter(ConsoleReporter())


@dataclass(frozen=True, slots=True)
class StoppableReporter:
    """Ends work at its next step where a signal has come and its KeyboardInterrupt was lost.

    Python prints and drops an exception that a signal raises inside a finaliser or a callback; without
    this, the command would go on to its end and then say that it was stopped.

    Args:
        shown: what shows the progress.
    """

    shown: Reporter

    def note(self, text: str) -> None:
        """Show the message."""
        self.shown.note(text)

    @contextmanager
    def task(self, title: str, total: int | None, unit: str) -> Iterator[Task]:
        """Show the task; its `advance` raises KeyboardInterrupt once a signal has come."""
        with self.shown.task(title, total, unit) as task:
            yield _StoppableTask(task)


@dataclass(frozen=True, slots=True)
class _StoppableTask:
    task: Task

    def advance(self, count: int = 1) -> None:
        self.task.advance(count)
        # Other threads cannot end the command; the first will come here too.
        if was_interrupted() and threading.current_thread() is threading.main_thread():
            raise KeyboardInterrupt

    def describe(self, text: str) -> None:
        self.task.describe(text)

    def expect(self, total: int | None) -> None:
        self.task.expect(total)

    def tell(self, **numbers: int) -> None:
        self.task.tell(**numbers)
