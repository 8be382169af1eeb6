"""Random generators of renderings."""

from __future__ import annotations

import hashlib

import torch
from torch import Generator

__all__ = ["item_generator"]


def item_generator(seed: int, layer: str, unit: int, facet: int = 0) -> Generator:
    """Create the generator of one rendering.

    It is seeded by a hash of the arguments, so that a rendering does not depend on those before it.

    Args:
        seed: of the run.
        layer: name of the layer.
        unit: of the layer.
        facet: of the unit.
    """
    text = f"{seed}/{layer}/{unit}/{facet}".encode()
    number = int.from_bytes(hashlib.sha256(text).digest()[:8], "little") >> 1
    return torch.Generator().manual_seed(number)
