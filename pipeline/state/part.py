"""What is known from a set of shards: lists, statistics, records; and how two such sets meet."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.errors import StoreError
from pipeline.image_id import POSITION_BITS
from pipeline.state import statistics as stats
from pipeline.state.sample import Sample, merge_samples
from pipeline.state.topk import NO_IMAGE, Ranked, merge_ranked
from pipeline.store.schemas import ERRORS, IMAGES

__all__ = ["Part", "ShardRecord", "merge_parts"]


@dataclass(frozen=True, slots=True)
class ShardRecord:
    """One shard as it was read: its name, its bytes, its good images and its bad ones.

    `digest` is that of its listing, where it has one (see `pipeline.data.shard.Shard`).
    """

    name: str
    size: int
    images: int
    errors: int
    digest: str = ""


@dataclass(frozen=True, slots=True)
class Part:
    """Everything known from a set of shards. Units of all layers lie on one axis.

    Args:
        shards: sorted by name; the ordinals in every image_id count these.
        high: the k highest peaks of each unit.
        low: the k lowest; its scores are negated activations.
        moments: of all peaks.
        histogram: (unit, bucket) int64.
        labels: sums per label.
        sample: the images of lowest hash.
        images: `IMAGES`, by image_id; `duplicate_of` is null.
        errors: `ERRORS`.
    """

    shards: tuple[ShardRecord, ...]
    high: Ranked
    low: Ranked
    moments: stats.Moments
    histogram: npt.NDArray[np.int64]
    labels: stats.LabelSums
    sample: Sample
    images: pa.Table
    errors: pa.Table

    @classmethod
    def empty(cls, units: int, k: int) -> Part:
        """The identity of `merge`."""
        return cls(
            (),
            Ranked.empty(units, k),
            Ranked.empty(units, k),
            stats.Moments.empty(units),
            np.zeros((units, stats.BUCKETS), np.int64),
            stats.LabelSums.empty(units),
            Sample.empty(units),
            IMAGES.empty_table(),
            ERRORS.empty_table(),
        )

    def merge(self, other: Part) -> Part:
        """The part of both sets of shards, which must not overlap.

        Associative and commutative, with `Part.empty` as identity: exactly for lists, counts,
        histograms and samples, to about 1e-12 for means and sums.

        Raises:
            StoreError: when a shard is in both.
        """
        both = sorted({item.name for item in self.shards} & {item.name for item in other.shards})
        if both:
            raise StoreError(f"shard {both[0]} is in both parts; it would be counted twice")
        shards = tuple(sorted((*self.shards, *other.shards), key=lambda item: item.name))
        # Adding floats in one order, whichever way round merge was called, keeps it commutative.
        first, second = self, other
        if not first.shards or (second.shards and second.shards[0].name < first.shards[0].name):
            first, second = second, first
        first, second = first.with_ordinals(shards), second.with_ordinals(shards)
        return Part(
            shards,
            merge_ranked(first.high, second.high),
            merge_ranked(first.low, second.low),
            stats.merge_moments(first.moments, second.moments),
            first.histogram + second.histogram,
            stats.merge_labels(first.labels, second.labels),
            merge_samples(first.sample, second.sample),
            pa.concat_tables([first.images, second.images]).sort_by("image_id"),
            pa.concat_tables([first.errors, second.errors]).sort_by("shard"),
        )

    def with_ordinals(self, shards: Sequence[ShardRecord]) -> Part:
        """The same part with every image_id counting `shards`, which must hold its own."""
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
            high=replace(self.high, image_id=renumber(self.high.image_id)),
            low=replace(self.low, image_id=renumber(self.low.image_id)),
            sample=replace(self.sample, image_id=renumber(self.sample.image_id)),
            images=self.images.set_column(column, IMAGES.field("image_id"), pa.array(ids)),
        )


def merge_parts(parts: Iterable[Part], units: int, k: int) -> Part:
    """The part of all shards; parts of the same shards count once.

    Args:
        parts: over sets of shards that are disjoint or equal.
        units: of all layers together.
        k: images kept per unit and side.

    Raises:
        StoreError: when two parts share some shards, but not all.
    """
    merged = Part.empty(units, k)
    seen: set[tuple[str, ...]] = set()
    for part in parts:
        names = tuple(shard.name for shard in part.shards)
        if names and names not in seen:
            merged = merged.merge(part)
            seen.add(names)
    return merged
