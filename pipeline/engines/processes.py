"""The engine with one process for each device of this machine.

Every process has its own network, reader and decoding threads, and asks for the next item when it has
finished one.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

import torch

from pipeline.engines.engine import Place, Work
from pipeline.engines.transport import pack, portable_error, unpack
from pipeline.errors import EngineError
from pipeline.progress import SilentTask, Task

__all__ = ["ProcessesEngine"]

Item = TypeVar("Item")
Result = TypeVar("Result")
Answer = TypeVar("Answer")

END_S = 10.0
"""Seconds that a process is given to end by itself."""


@dataclass(slots=True)
class _Child:
    """A process with its end of a pipe.

    Args:
        process: started.
        pipe: to it.
        place: where it opens work.
        item: number of the item that it runs; None if it waits.
    """

    process: BaseProcess
    pipe: Connection
    place: Place
    item: int | None = None


class ProcessesEngine:
    """Runs items in one process for each device.

    Args:
        devices: one for each process.
    """

    def __init__(self, devices: Sequence[torch.device]) -> None:
        self.devices = tuple(devices)

    @property
    def device(self) -> torch.device:
        """The first one; all are of one type."""
        return self.devices[0]

    @property
    def is_apart(self) -> bool:
        """Into other processes."""
        return True

    @property
    def slots(self) -> int:
        """One for each device."""
        return len(self.devices)

    def ask(self, function: Callable[..., Answer], *arguments: Any) -> Answer:
        """Call the function in this process, whose machine it is."""
        return function(*arguments)

    def map(
        self, work: Work[Item, Result], items: Sequence[Item], task: Task
    ) -> Generator[tuple[int, Result]]:
        """Run all items; see `pipeline.engines.engine.Engine.map`."""
        data = pack(work, "the work of this command")
        waiting = iter(range(len(items)))
        with contextlib.ExitStack() as stack:
            children = [stack.enter_context(_started(data, place)) for place in self._places()[: len(items)]]
            busy = [child for child in children if _give(child, waiting, items)]
            while busy:
                ready = wait([*(child.pipe for child in busy), *(child.process.sentinel for child in busy)])
                for child in [
                    child for child in busy if child.pipe in ready or child.process.sentinel in ready
                ]:
                    kind, value = _receive(child, work, items)
                    if kind == "advance":
                        task.advance(value)
                    elif kind == "describe":
                        task.describe(value)
                    elif kind == "failed":
                        raise value
                    else:
                        assert child.item is not None
                        yield child.item, value
                        if not _give(child, waiting, items):
                            busy.remove(child)

    def _places(self) -> list[Place]:
        """A place for each device; they share the cores."""
        available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        cores = max(1, available // len(self.devices))
        return [Place(device, cores) for device in self.devices]


@contextlib.contextmanager
def _started(data: bytes, place: Place) -> Iterator[_Child]:
    """A process that has opened the work or is about to; it is ended with the context."""
    # CUDA cannot be used in a process that was forked.
    context = multiprocessing.get_context("spawn")
    pipe, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, place), daemon=True)
    process.start()
    theirs.close()
    try:
        with contextlib.suppress(BrokenPipeError):  # noticed when its answer is read
            pipe.send_bytes(data)
        yield _Child(process, pipe, place)
    finally:
        pipe.close()  # which it takes as the end, as soon as it has no item
        process.join(0.1)
        if process.is_alive():
            _interrupt(process)
            process.join(END_S)
        if process.is_alive():
            process.kill()
            process.join()


def _interrupt(process: BaseProcess) -> None:
    """End what a process runs, so that it removes what it has half written."""
    with contextlib.suppress(OSError):
        if process.pid is not None:
            os.kill(process.pid, signal.SIGTERM)


def _give(child: _Child, waiting: Iterator[int], items: Sequence[Item]) -> bool:
    """Send the next item to a process; False if there is none."""
    child.item = next(waiting, None)
    if child.item is None:
        return False
    with contextlib.suppress(BrokenPipeError):
        child.pipe.send_bytes(pack(items[child.item], "a part of the work"))
    return True


def _receive(child: _Child, work: Work[Item, Result], items: Sequence[Item]) -> tuple[str, Any]:
    """What a process says next.

    Raises:
        EngineError: when it has ended.
    """
    try:
        kind, value = child.pipe.recv()
    except (EOFError, OSError) as error:
        child.process.join(END_S)
        assert child.item is not None
        raise EngineError(
            f"the process on {child.place.device} {_ending(child.process.exitcode)} while it ran "
            f"{work.label(items[child.item])}; what was finished is kept. Run the same command again to go on"
        ) from error
    return kind, value


def _ending(code: int | None) -> str:
    """How a process ended."""
    if code is None:
        return "closed its connection"
    if code < 0:
        killed = " (out of memory?)" if -code == signal.SIGKILL else ""
        return f"was ended by signal {-code}{killed}"
    return f"ended with exit code {code}"


class _Sent(SilentTask):
    """The task of a process: what it is told goes through the pipe."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe

    def advance(self, count: int = 1) -> None:
        self._pipe.send(("advance", count))

    def describe(self, text: str) -> None:
        self._pipe.send(("describe", text))


def _serve(pipe: Connection, place: Place) -> None:
    """The process: open the work, run one item after another until the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the first process decides
    signal.signal(signal.SIGTERM, _stop)
    if place.device.type == "cuda":  # pragma: no cover (needs a GPU)
        torch.cuda.set_device(place.device)
    with contextlib.suppress(KeyboardInterrupt, EOFError, BrokenPipeError, ConnectionResetError):
        try:
            work: Work[Any, Any] = unpack(pipe.recv_bytes())
            with work.open(place) as run:
                while True:
                    item = unpack(pipe.recv_bytes())
                    (result,) = run([item], _Sent(pipe))
                    pipe.send(("result", result))
        except Exception as error:  # the first process raises it
            pipe.send(("failed", portable_error(error)))


def _stop(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt
