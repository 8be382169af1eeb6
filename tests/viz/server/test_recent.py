"""What was made recently stays within its limit, and is made once by many threads."""

from __future__ import annotations

import threading
import time

from hypothesis import given
from hypothesis import strategies as st

from viz.server.recent import Recent


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 30)), max_size=60), st.integers(0, 100))
def test_the_last_used_are_kept_up_to_the_limit(asked: list[tuple[int, int]], limit: int) -> None:
    recent: Recent[int, int] = Recent(limit, lambda weight: weight)
    kept: dict[int, int] = {}  # in the order of their use
    for key, weight in asked:
        if key in kept:
            expected = kept.pop(key)
            kept[key] = expected
        else:
            expected = weight
            if weight <= limit:
                kept[key] = weight
                while sum(kept.values()) > limit:
                    del kept[next(iter(kept))]
        assert recent.get(key, lambda weight=weight: weight) == expected
        assert recent.total == sum(kept.values()) <= limit


def test_what_is_kept_again_is_replaced() -> None:
    recent: Recent[str, int] = Recent(10, lambda weight: weight)
    recent.keep("a", 3)
    recent.keep("a", 5)
    recent.keep("b", 4)
    recent.keep("c", 11)  # above the limit
    assert recent.total == 9
    assert recent.missing(["a", "c", "b", "c"]) == ["c"]
    assert recent.get("a", lambda: 0) == 5


def test_threads_that_ask_for_the_same_wait_for_one() -> None:
    recent: Recent[str, int] = Recent(10, lambda _: 1)
    made: list[int] = []
    start = threading.Barrier(4)

    def make() -> int:
        made.append(1)
        time.sleep(0.05)
        return len(made)

    def ask() -> None:
        start.wait()
        found.append(recent.get("key", make))

    found: list[int] = []
    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [1]
    assert found == [1] * 4


def test_what_cannot_be_made_can_be_asked_for_again() -> None:
    recent: Recent[str, int] = Recent(10, lambda _: 1)

    def fail() -> int:
        raise ValueError

    for _ in range(2):
        try:
            recent.get("key", fail)
        except ValueError:
            continue
        raise AssertionError
    assert recent.get("key", lambda: 3) == 3
