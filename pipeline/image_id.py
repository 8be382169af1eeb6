"""Image ids: the ordinal of the shard and the position in the shard, packed into one int64."""

from __future__ import annotations

__all__ = ["MAX_POSITIONS", "image_id", "split_image_id"]

POSITION_BITS = 24
"""Low bits of an image_id, which hold the position; the high bits hold the ordinal."""

MAX_POSITIONS = 1 << POSITION_BITS
"""Maximum number of samples in a shard: 16,777,216."""


def image_id(ordinal: int, position: int) -> int:
    """Pack the ordinal of a shard in its dataset and a position in the shard into an image_id.

    Raises:
        ValueError: if the position is not in 0..`MAX_POSITIONS` - 1.
    """
    if not 0 <= position < MAX_POSITIONS:
        raise ValueError(f"position {position} is outside 0..{MAX_POSITIONS - 1}")
    return (ordinal << POSITION_BITS) | position


def split_image_id(image: int) -> tuple[int, int]:
    """Unpack an image_id into the ordinal of the shard and the position in the shard."""
    return image >> POSITION_BITS, image & (MAX_POSITIONS - 1)
