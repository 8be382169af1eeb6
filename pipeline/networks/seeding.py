"""Untrained weights that a seed decides, whatever other threads do."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["seeded"]

_drawing = threading.Lock()
"""Held while torch's global generator, which all modules draw from, has a seed of ours."""


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch's global generator on the CPU, and restore it; one thread at a time."""
    with _drawing, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
