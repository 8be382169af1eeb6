"""What was made recently, kept in memory up to a limit."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from typing import Generic, TypeVar

__all__ = ["Recent"]

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Recent(Generic[K, V]):
    """Values by key, the least recently used of which are dropped; for several threads.

    Args:
        limit: of the sum of all weights.
        weigh: the weight of a value, such as its bytes.
    """

    def __init__(self, limit: int, weigh: Callable[[V], int]) -> None:
        self._limit, self._weigh = limit, weigh
        self._values: OrderedDict[K, V] = OrderedDict()
        self._total = 0
        self._lock = threading.Lock()
        self._making: dict[K, threading.Lock] = {}

    @property
    def total(self) -> int:
        """The sum of the weights of all values that are kept."""
        return self._total

    def get(self, key: K, make: Callable[[], V]) -> V:
        """The value of a key, made if it is not there; threads that ask for the same wait for one."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key]
            making = self._making.setdefault(key, threading.Lock())
        with making:
            with self._lock:
                if key in self._values:
                    return self._values[key]
            try:
                value = make()
                self.keep(key, value)
            finally:
                with self._lock:
                    self._making.pop(key, None)
        return value

    def missing(self, keys: Iterable[K]) -> list[K]:
        """The keys without a value, each once."""
        with self._lock:
            return [key for key in dict.fromkeys(keys) if key not in self._values]

    def keep(self, key: K, value: V) -> None:
        """Keep a value, unless it alone is above the limit, and drop the oldest above the limit."""
        weight = self._weigh(value)
        if weight > self._limit:
            return
        with self._lock:
            if key in self._values:
                self._total -= self._weigh(self._values.pop(key))
            self._values[key] = value
            self._total += weight
            while self._total > self._limit:
                _, dropped = self._values.popitem(last=False)
                self._total -= self._weigh(dropped)
