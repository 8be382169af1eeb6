"""Passes side by side: in order, one thread each, and torch's setting restored."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from viz.passes.workers import Workers

CPU = torch.device("cpu")


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_results_come_in_order_from_threads_that_compute_alone(two_threads: None) -> None:
    with Workers(CPU) as workers:
        found = workers.map(lambda item: (item, torch.get_num_threads()), range(9))
        assert torch.get_num_threads() == 1
    assert found == [(item, 1) for item in range(9)]
    assert torch.get_num_threads() == 2


def test_an_error_in_a_pass_reaches_the_caller_and_the_setting_comes_back(
    two_threads: None,
) -> None:
    with pytest.raises(ZeroDivisionError), Workers(CPU) as workers:
        workers.map(lambda item: 1 / item, [1, 0, 2])
    assert torch.get_num_threads() == 2


def test_off_the_cpu_everything_runs_in_the_calling_thread(two_threads: None) -> None:
    with Workers(torch.device("meta")) as workers:
        assert workers.count == 1
        assert workers.map(lambda item: torch.get_num_threads(), [0]) == [2]
