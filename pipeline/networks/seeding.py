"""Untrained weights that a seed decides, whatever other threads do."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["building", "seeded"]

building = threading.RLock()
"""Held while modules are built: all draw from torch's global generator, also those that then get weights."""


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch's global generator on the CPU, and restore it; one thread at a time."""
    with building, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
