"""Parts: the state, images and errors of a set of shards, and how two parts merge."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.errors import StoreError
from pipeline.image_id import POSITION_BITS
from pipeline.state.topk import NO_IMAGE
from pipeline.state.unit_state import UnitState
from pipeline.store.peak_files import PeakSpill
from pipeline.store.schemas import ERRORS, PART_IMAGES

__all__ = ["Part", "ShardRecord", "merge_parts"]


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

    @classmethod
    def empty(cls, units: int, k: int) -> Part:
        """The identity of `merge`."""
        return cls((), UnitState.empty(units, k), PART_IMAGES.empty_table(), ERRORS.empty_table())

    def merge(self, other: Part) -> Part:
        """The part of the union of both sets of shards, which must not overlap.

        Associative and commutative, with `Part.empty` as identity: exactly for lists, counts,
        histograms and samples, to about 1e-12 for means and sums.

        Raises:
            StoreError: when a shard is in both.
        """
        both = sorted({item.name for item in self.shards} & {item.name for item in other.shards})
        if both:
            raise StoreError(f"shard {both[0]} is in both parts; it would be counted twice")
        shards = tuple(sorted((*self.shards, *other.shards), key=lambda item: item.name))
        # Floats are added in the order of the shards, whichever part is `self`: so merge commutes.
        first, second = self, other
        if not first.shards or (second.shards and second.shards[0].name < first.shards[0].name):
            first, second = second, first
        first, second = first.with_ordinals(shards), second.with_ordinals(shards)
        return Part(
            shards,
            first.state.merge(second.state),
            pa.concat_tables([first.images, second.images]).sort_by("image_id"),
            pa.concat_tables([first.errors, second.errors]).sort_by("shard"),
        )

    def with_ordinals(self, shards: Sequence[ShardRecord]) -> Part:
        """The same part with its shards' ordinals in `shards`, a superset of its own, in every image_id."""
        place = {shard.name: ordinal for ordinal, shard in enumerate(shards)}
        ordinals = np.array([place[shard.name] for shard in self.shards], np.int64)
        if np.array_equal(ordinals, np.arange(len(ordinals))):
            return self

        def renumber(ids: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
            known = ids != NO_IMAGE
            old = np.where(known, ids, 0)
            position = old & ((1 << POSITION_BITS) - 1)
            new = (ordinals[old >> POSITION_BITS] << POSITION_BITS) | position
            return np.where(known, new, NO_IMAGE)

        column = self.images.column_names.index("image_id")
        ids = renumber(self.images["image_id"].to_numpy())
        return replace(
            self,
            state=self.state.renumber(renumber),
            images=self.images.set_column(column, PART_IMAGES.field("image_id"), pa.array(ids)),
        )


def merge_parts(parts: Iterable[Part], units: int, k: int) -> Part:
    """Merge parts; of parts with the same shards only the first counts.

    Args:
        parts: over sets of shards that are disjoint or equal.
        units: of all layers together.
        k: images kept per unit and side.

    Raises:
        StoreError: when two parts share some of their shards, but not all.
    """
    merged: Part | None = None
    seen: set[tuple[str, ...]] = set()
    for part in parts:
        names = tuple(shard.name for shard in part.shards)
        if names and names not in seen:
            merged = part if merged is None else merged.merge(part)
            seen.add(names)
        del part  # so that the next one is read without it in memory
    return Part.empty(units, k) if merged is None else merged
