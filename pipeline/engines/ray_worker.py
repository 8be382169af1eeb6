"""What a Ray task runs, and the board on which tasks say how far they are.

A worker process opens work once and keeps it for the next tasks. A task runs one item. It returns its
result or the error that ends the run; it raises `Transient` for what another attempt may get over.
"""

from __future__ import annotations

import contextlib
import errno
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from pipeline.data.retry import is_transient
from pipeline.engines.engine import Place, Work
from pipeline.engines.transport import portable_error, unpack
from pipeline.errors import EngineError, MaxactError
from pipeline.progress import SilentTask

__all__ = ["MAX_STARTS", "Board", "Failure", "Order", "Transient", "ask_here", "run_item"]

MAX_STARTS = 10
"""Times that an item is started before it counts as one that ends every process it runs in. A node that is
taken away ends the items on it too, hence more than a few."""

MAX_TRANSIENT = 3
"""Times that an item is started, up to which a transient failure is tried again."""

TELL_S = 0.5
"""Seconds between two messages of a task to the board."""

_LASTING = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.ENAMETOOLONG, errno.ENOTDIR, errno.ENOEXEC)
"""Errors of the operating system that do not pass with time, besides those of `pipeline.data.retry`."""


class Transient(Exception):
    """A failure of input or output that may pass; Ray starts the task again."""


@dataclass(frozen=True, slots=True)
class Failure:
    """An error that ends the run, as a value.

    Args:
        error: can be pickled.
    """

    error: MaxactError


_OVER = Failure(EngineError("the run is over"))
"""What a task returns when nobody waits for its result."""


class Board:
    """An actor that knows how far every item is, in which attempt, and on which nodes.

    It is told absolute numbers, so that an item that starts again replaces what its earlier attempt said.
    Its answers end tasks when the run is over: to have Ray cancel a task that is just ending can abort
    the process that started it (2.60, "Tried to complete task that was not pending").
    """

    def __init__(self) -> None:
        self._stopped = False
        self._starts: dict[int, int] = {}
        self._done: dict[int, int] = {}
        self._text = ""

    def start(self, number: int) -> int:
        """Count a start of an item; returns how often it was started, 0 when the run is over."""
        if self._stopped:
            return 0
        self._starts[number] = self._starts.get(number, 0) + 1
        self._done[number] = 0
        return self._starts[number]

    def tell(self, number: int, done: int, text: str) -> bool:
        """Take how far an item is, and what it works on; returns whether the run is over."""
        self._done[number], self._text = done, text or self._text
        return self._stopped

    def stop(self) -> None:
        """End the tasks that run and those that start."""
        self._stopped = True

    def read(self) -> tuple[int, int, str]:
        """Steps of all items, starts beyond the first of each item, and the last text."""
        retries = sum(self._starts.values()) - len(self._starts)
        return sum(self._done.values()), retries, self._text


class _Stopped(KeyboardInterrupt):
    """The run is over; what an item has half written is removed on the way out."""


class _Told(SilentTask):
    """The task of one item, which tells the board, and ends the item when the run is over."""

    def __init__(self, board: Any, number: int) -> None:
        self._board, self._number = board, number
        self._done, self._text, self._last = 0, "", 0.0
        self._answer: Any = None

    def advance(self, count: int = 1) -> None:
        self._done += count
        if time.monotonic() - self._last >= TELL_S:
            self.flush()

    def describe(self, text: str) -> None:
        self._text = text

    def flush(self) -> None:
        import ray

        self._last = time.monotonic()
        with contextlib.suppress(ray.exceptions.RayError):  # the board starts again
            if self._answer and ray.wait([self._answer], timeout=0)[0] and ray.get(self._answer):
                raise _Stopped
        self._answer = self._board.tell.remote(self._number, self._done, self._text)


@dataclass(slots=True)
class _Opened:
    """Work that this process has open.

    Args:
        key: of the work.
        stack: closes it.
        work: itself.
        run: what it gave.
    """

    key: str
    stack: contextlib.ExitStack
    work: Work[Any, Any]
    run: Any


_opened: list[_Opened] = []
"""The work of this process, at most one."""


def _open(key: str, shared: list[Any], place: Place) -> _Opened:
    """The work of that key, opened now or by an earlier task."""
    if _opened and _opened[0].key == key:
        return _opened[0]
    _close()
    import ray

    work: Work[Any, Any] = unpack(ray.get(shared[0]))
    stack = contextlib.ExitStack()
    run = stack.enter_context(work.open(place))
    _opened.append(_Opened(key, stack, work, run))
    return _opened[0]


def _close() -> None:
    while _opened:
        _opened.pop().stack.close()


@dataclass(frozen=True, slots=True)
class Order:
    """One item to run.

    Args:
        key: of the work.
        number: of the item.
        device: type of device.
        cores: of the task.
        max_starts: see `MAX_STARTS`.
    """

    key: str
    number: int
    device: str
    cores: int
    max_starts: int


def run_item(order: Order, shared: list[Any], item: Any, board: Any) -> Any:
    """Run one item in this worker process.

    Args:
        order: which, and how.
        shared: the reference to the packed work; in a list, so that only the first task fetches it.
        item: itself.
        board: the actor.

    Returns:
        The result, or a `Failure`.

    Raises:
        Transient: when another attempt may succeed.
    """
    import ray

    starts = int(ray.get(board.start.remote(order.number)))
    address: Any = ray.util.get_node_ip_address
    node = f"{address()} ({ray.get_runtime_context().get_node_id()[:8]})"
    place = Place(torch.device(order.device), order.cores, node)
    told = _Told(board, order.number)
    if not starts:
        return _OVER
    try:
        opened = _open(order.key, shared, place)
        if starts > order.max_starts:
            raise EngineError(
                f"{opened.work.label(item)}: the process that ran it ended {order.max_starts} times, "
                f"at last on node {node} or another; look for a crash or for too little memory there"
            )
        (result,) = opened.run([item], told)
        told.flush()
    except _Stopped:
        _close()
        return _OVER
    except Exception as error:
        _close()
        if starts < MAX_TRANSIENT and _may_pass(error):
            raise Transient(str(error)) from None
        return Failure(portable_error(error))
    except BaseException:  # the task was cancelled: what is open may be in the middle of something
        _close()
        raise
    return result


def ask_here(function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    """Call a function in a worker; its error is returned as a `Failure`."""
    try:
        return function(*arguments)
    except Exception as error:
        return Failure(portable_error(error))


def _may_pass(error: BaseException) -> bool:
    """Whether what an error was raised from is a failure of input or output that may pass."""
    causes = [cause for cause in _causes(error) if not isinstance(cause, MaxactError)]
    return any(is_transient(cause) and getattr(cause, "errno", None) not in _LASTING for cause in causes)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__
