"""Parts: the state, images and errors of a set of shards."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from pipeline.state.unit_state import UnitState
from pipeline.store.peak_files import PeakSpill

__all__ = ["Part", "ShardRecord"]


@dataclass(frozen=True, slots=True)
class ShardRecord:
    """One shard as it was read.

    Args:
        name: of the shard.
        size: in bytes.
        images: that were indexed.
        errors: members that cannot be used.
        digest: of its listing, where it has one (see `pipeline.data.shard.Shard`).
        content: digest of its samples (see `pipeline.data.content.ShardReader`).
        stamp: of its files when it was read, which another machine need not have; empty for URLs.
    """

    name: str
    size: int
    images: int
    errors: int
    digest: str = ""
    content: str = ""
    stamp: str = ""


@dataclass(frozen=True, slots=True)
class Part:
    """What indexing a set of shards gives.

    Args:
        shards: sorted by name; the ordinals in every image_id count these.
        state: of all units.
        images: `PART_IMAGES`, by image_id; `duplicate_of` is null.
        errors: `ERRORS`.
        peaks: of all images, in the order of `images`, where they are kept and the part is not yet
            committed. Merging leaves them out: they stay with the part that they were committed with.
    """

    shards: tuple[ShardRecord, ...]
    state: UnitState
    images: pa.Table
    errors: pa.Table
    peaks: PeakSpill | None = None
