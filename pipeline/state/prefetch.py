"""Reads ahead in threads, in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

__all__ = ["prefetch"]

_THREADS = 2


Item = TypeVar("Item")
Found = TypeVar("Found")


def prefetch(
    read: Callable[[Item], Found], items: Iterable[Item]
) -> Generator[tuple[Item, Found], None, None]:
    """Each item with what `read` gives for it; at most a few are in memory at a time.

    Args:
        read: called in another thread.
        items: in order.

    Raises:
        Exception: what `read` raises, when its item comes.
    """
    waiting: deque[tuple[Item, Future[Found]]] = deque()
    with ThreadPoolExecutor(_THREADS, "reader") as pool:
        try:
            for item in items:
                waiting.append((item, pool.submit(read, item)))
                if len(waiting) > _THREADS:
                    first, found = waiting.popleft()
                    yield first, found.result()
            while waiting:
                first, found = waiting.popleft()
                yield first, found.result()
        finally:
            for _, found in waiting:
                found.cancel()
