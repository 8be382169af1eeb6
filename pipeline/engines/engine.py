"""What work and engines are, and the engine that is this process.

Work is opened once in each process, which loads what all items need, and then called with items. An
engine opens work where it runs it and yields each result with the number of its item, in any order.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import torch

from pipeline.progress import Task

__all__ = ["Calls", "Engine", "LocalEngine", "Place", "Work"]

Item = TypeVar("Item")
Result = TypeVar("Result")
Answer = TypeVar("Answer")
ItemIn = TypeVar("ItemIn", contravariant=True)
ResultOut = TypeVar("ResultOut", covariant=True)


@dataclass(frozen=True, slots=True)
class Place:
    """Where work is opened.

    Args:
        device: for networks.
        cores: that the process may use; None for all.
        node: name of the machine for messages; empty for this one.
    """

    device: torch.device
    cores: int | None = None
    node: str = ""


class Calls(Protocol[ItemIn, ResultOut]):
    """Opened work: runs items one after another, and may read ahead over their borders."""

    def __call__(self, items: Sequence[ItemIn], task: Task) -> Iterator[ResultOut]:
        """Yield the results in order; the task is advanced on the way."""


class Work(Protocol[ItemIn, ResultOut]):
    """What is done for every item; can be pickled, see `pipeline.engines.transport`."""

    def open(self, place: Place) -> AbstractContextManager[Calls[ItemIn, ResultOut]]:
        """Load what all items need, for the length of the context.

        Raises:
            MaxactError: when this process cannot do the work.
        """

    def label(self, item: ItemIn) -> str:
        """What an item is called in messages."""


class Engine(Protocol):
    """Runs work over items."""

    @property
    def device(self) -> torch.device:
        """The device that the processes of this engine have."""

    @property
    def is_apart(self) -> bool:
        """Whether work leaves this process: it is pickled, and opened where things may differ."""

    @property
    def slots(self) -> int:
        """Items that run at the same time."""

    def ask(self, function: Callable[..., Answer], *arguments: Any) -> Answer:
        """Call a function where work runs, to learn what is possible there."""

    def map(
        self, work: Work[Item, Result], items: Sequence[Item], task: Task
    ) -> Generator[tuple[int, Result]]:
        """Run all items; when the generator is closed or raises, those that run are ended.

        Args:
            work: opened once in each process.
            items: each is run at least once; running one twice must change nothing.
            task: advanced as the work says; told how many nodes are at work, where there are several.

        Yields:
            The number of an item and its result, in any order.

        Raises:
            MaxactError: that the work raised for an item.
            EngineError: when the items cannot be run.
        """


@dataclass(frozen=True, slots=True)
class LocalEngine:
    """Runs everything in this process.

    Args:
        device: for networks.
    """

    device: torch.device

    @property
    def is_apart(self) -> bool:
        """It does not."""
        return False

    @property
    def slots(self) -> int:
        """One."""
        return 1

    def ask(self, function: Callable[..., Answer], *arguments: Any) -> Answer:
        """Call the function."""
        return function(*arguments)

    def map(
        self, work: Work[Item, Result], items: Sequence[Item], task: Task
    ) -> Generator[tuple[int, Result]]:
        """Run the items in order; see `Engine.map`."""
        with work.open(Place(self.device)) as run:
            yield from enumerate(run(items, task))
