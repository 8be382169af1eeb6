"""Fingerprints of images: the same bytes, or nearly the same picture."""

from __future__ import annotations

import functools
import hashlib
import math

import numpy as np
import torch
from torch import Tensor

__all__ = ["byte_digest", "perceptual_hash"]

_SIDE = 32
_KEPT = 8
_FLAT = 4.0
"""Standard deviation, in grey levels, under which a picture has no structure to hash."""


def byte_digest(data: bytes) -> int:
    """A signed 64-bit digest of an encoded image (BLAKE2b)."""
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), signed=True)


def perceptual_hash(pixels: Tensor) -> int | None:
    """A signed 64-bit hash that survives re-encoding and small changes of brightness.

    The picture is reduced to 32 x 32 grey levels; of its cosine transform the 8 x 8 lowest
    frequencies are kept, and each bit says whether one exceeds their median (Zauner 2010,
    "Implementation and benchmarking of perceptual image hash functions").

    Args:
        pixels: uint8 (channel, y, x), one or three channels.

    Returns:
        The hash, or None for a picture too flat to have one.
    """
    grey = pixels.float().mean(0)[None, None]
    small = torch.nn.functional.adaptive_avg_pool2d(grey, (_SIDE, _SIDE))[0, 0].double()
    if float(small.std()) < _FLAT:
        return None
    transform = _cosines()
    low = (transform @ small @ transform.T).flatten()
    bits = np.packbits((low > low[1:].median()).numpy())
    return int.from_bytes(bits.tobytes(), signed=True)


@functools.cache
def _cosines() -> Tensor:
    """The first rows of the orthogonal cosine transform, (frequency, sample) float64."""
    sample = torch.arange(_SIDE, dtype=torch.float64) + 0.5
    frequency = torch.arange(_KEPT, dtype=torch.float64)[:, None]
    return torch.cos(math.pi / _SIDE * frequency * sample)
