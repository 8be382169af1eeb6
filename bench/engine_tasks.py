"""The overhead of a task in each engine: items with which nothing is done; see `bench/scale.py --tasks`."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from typing import Any

__all__ = ["print_tasks", "seconds_of"]


class Nothing:
    """Work that gives every item back."""

    @contextlib.contextmanager
    def open(self, place: Any) -> Iterator[Any]:
        def run(items: Sequence[int], task: Any) -> Iterator[int]:
            for item in items:
                task.advance(1)
                yield item

        yield run

    def label(self, item: int) -> str:
        return f"item {item}"


def seconds_of(engine: Any, count: int) -> float:
    """How long an engine takes for so many items, with the start of its processes."""
    from pipeline.progress import Silent

    started = time.monotonic()
    with Silent().task("", None, "") as task:
        found = sorted(number for number, _ in engine.map(Nothing(), list(range(count)), task))
    assert found == list(range(count))
    return time.monotonic() - started


def print_tasks(count: int) -> None:
    """Print the seconds of the first item and the milliseconds of each further one, with two processes."""
    import torch

    from pipeline.config import EngineConfig
    from pipeline.engines.engine import LocalEngine
    from pipeline.engines.open_engine import open_engine
    from pipeline.engines.processes import ProcessesEngine

    cpu = torch.device("cpu")
    print(f"\nItems with which nothing is done, {count} of them:\n")
    print("| engine | seconds to connect | of the first item | ms of each further item |")
    print("|---|---|---|---|")

    def row(name: str, engine: Any, connected: float) -> None:
        first = seconds_of(engine, 1)
        each = max(0.0, seconds_of(engine, count) - first) / (count - 1)
        print(f"| {name} | {connected:.1f} | {first:.2f} | {1000 * each:.2f} |", flush=True)

    row("this process", LocalEngine(cpu), 0)
    row("2 processes", ProcessesEngine([cpu, cpu]), 0)
    started = time.monotonic()
    with open_engine(EngineConfig("ray"), "cpu") as engine:
        row("ray", engine, time.monotonic() - started)
