"""Passes side by side, one core each.

A convolution spread over several threads gives an image other low bits in another batch; on one
thread it does not. So while pictures climb on the CPU torch computes on one thread, and passes that
do not depend on each other run on as many threads as torch would have used: the same picture
whatever the batch, and no time lost waiting at the end of every operator.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self, TypeVar

import torch

__all__ = ["Workers"]

Item = TypeVar("Item")
Result = TypeVar("Result")


class Workers:
    """A pool of threads, each of which computes alone; torch's own setting comes back on leaving.

    Args:
        device: where the network is; off the CPU everything runs in the calling thread.
    """

    def __init__(self, device: torch.device) -> None:
        self.count = torch.get_num_threads() if device.type == "cpu" else 1
        self._before = torch.get_num_threads()
        self._pool: ThreadPoolExecutor | None = None

    def __enter__(self) -> Self:
        if self.count > 1:
            torch.set_num_threads(1)
            self._pool = ThreadPoolExecutor(
                self.count, "climb", initializer=torch.set_num_threads, initargs=(1,)
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            torch.set_num_threads(self._before)

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
        """The results in the order of the items; of several errors the first is raised."""
        if self._pool is None:
            return [function(item) for item in items]
        return list(self._pool.map(function, items))
