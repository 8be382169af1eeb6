"""Image numbers: the shard's ordinal and the position in it, in one int64."""

from __future__ import annotations

__all__ = ["MAX_POSITIONS", "image_id", "split_image_id"]

POSITION_BITS = 24
"""Low bits of an image_id that hold the position in the shard; the rest is the shard's ordinal."""


MAX_POSITIONS = 1 << POSITION_BITS
"""Samples a shard may hold: 16,777,216."""


def image_id(ordinal: int, position: int) -> int:
    """The int64 name of an image: its shard's ordinal in the dataset and its position in it."""
    if not 0 <= position < MAX_POSITIONS:
        raise ValueError(f"position {position} is outside 0..{MAX_POSITIONS - 1}")
    return (ordinal << POSITION_BITS) | position


def split_image_id(image: int) -> tuple[int, int]:
    """The shard's ordinal and the position that an image_id was made of."""
    return image >> POSITION_BITS, image & (MAX_POSITIONS - 1)
