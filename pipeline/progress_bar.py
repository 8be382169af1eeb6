"""A progress bar on a terminal, drawn by rich."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from pipeline.visible import visible

__all__ = ["BarTask", "open_bar"]


class _RateColumn(ProgressColumn):
    """Units of work per second."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.1f} {task.fields['unit']}/s" if task.speed else "")


@dataclass(slots=True)
class BarTask:
    """Moves one bar; see `pipeline.progress.Task`."""

    bar: Progress
    number: TaskID
    numbers: dict[str, int] = field(default_factory=dict)
    text: str = ""

    def advance(self, count: int = 1) -> None:
        """Move the bar by `count` units of work."""
        self.bar.advance(self.number, count)

    def describe(self, text: str) -> None:
        """Show a few words behind the bar."""
        self.text = text
        self._show()

    def expect(self, total: int | None) -> None:
        """Set the number of units at which the bar is full; None when that is not known."""
        self.bar.update(self.number, total=total)

    def tell(self, **numbers: int) -> None:
        """Show numbers behind the bar, before the words."""
        self.numbers |= numbers
        self._show()

    def _show(self) -> None:
        told = [f"{number:,} {name}" for name, number in self.numbers.items()]
        self.bar.update(self.number, text=visible(", ".join(filter(None, (*told, self.text)))))


@contextmanager
def open_bar(stream: TextIO, title: str, total: int | None, unit: str) -> Iterator[BarTask]:
    """Show a bar on a terminal until the context is left.

    Args:
        stream: the terminal.
        title: stands before the bar.
        total: units of work, None when not known.
        unit: name of the units, for the rate.
    """
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        _RateColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[text]}", markup=False),
    )
    with Progress(*columns, console=Console(file=stream)) as bar:
        yield BarTask(bar, bar.add_task(visible(title), total=total, text="", unit=unit))
