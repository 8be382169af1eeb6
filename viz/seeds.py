"""The random generator of one rendering."""

from __future__ import annotations

import hashlib

import torch
from torch import Generator

__all__ = ["item_generator"]


def item_generator(seed: int, layer: str, unit: int, facet: int = 0) -> Generator:
    """The generator of one rendering: a hash of what it is, so that it stands alone."""
    text = f"{seed}/{layer}/{unit}/{facet}".encode()
    number = int.from_bytes(hashlib.sha256(text).digest()[:8], "little") >> 1
    return torch.Generator().manual_seed(number)
