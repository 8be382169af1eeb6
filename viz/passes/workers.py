"""Run passes in parallel, each on one thread.

A convolution on several threads gives an image other low bits in another batch; on one thread it does
not. So during gradient ascent on the CPU, torch computes on one thread, and independent passes run on
as many threads as torch would have used: a picture does not depend on its batch, and no thread waits
at the end of every operator.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Self, TypeVar

import torch

__all__ = ["Workers"]

Item = TypeVar("Item")
Result = TypeVar("Result")


class Workers:
    """A pool of threads that each compute on one thread; torch's setting is restored on leaving.

    Args:
        device: of the network; if it is not the CPU, everything runs in the calling thread.
    """

    def __init__(self, device: torch.device) -> None:
        self.count = torch.get_num_threads() if device.type == "cpu" else 1
        self._before = torch.get_num_threads()
        self._pool: ThreadPoolExecutor | None = None

    def __enter__(self) -> Self:
        if self.count > 1:
            torch.set_num_threads(1)
            self._pool = ThreadPoolExecutor(
                self.count, "pass", initializer=torch.set_num_threads, initargs=(1,)
            )
        return self

    def __exit__(self, *exception: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            torch.set_num_threads(self._before)

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
        """Apply a function to items; returns results in order, and raises the first of several errors."""
        if self._pool is None:
            return [function(item) for item in items]
        return list(self._pool.map(function, items))
