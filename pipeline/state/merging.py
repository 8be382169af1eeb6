"""Committed parts merged out of core: a block of units of one part after another is in memory.

The blocks have the bits that a merge of whole parts in memory would give: every sum is over the parts in the
order of their first shards. What is over all units at once, the sums per label and the sample of images, is
gathered first, in files without names where it does not fit into memory.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, Self

import numpy as np
import numpy.typing as npt

from pipeline.errors import StoreError
from pipeline.image_id import POSITION_BITS
from pipeline.state import statistics as stats
from pipeline.state.commit_file import Commit
from pipeline.state.label_sums import LabelSums
from pipeline.state.part_blocks import PartBlock, read_block, read_sample_images
from pipeline.state.part_tables import UNITS_PER_GROUP
from pipeline.state.prefetch import prefetch
from pipeline.state.sample import PeakSample
from pipeline.state.stored_labels import PartLabels, StoredLabels
from pipeline.state.stored_sample import SampleChoice, StoredSample
from pipeline.state.topk import NO_IMAGE, Ranked, merge_ranked
from pipeline.state.unit_state import UnitState

__all__ = ["BlockMerge", "MergeBlocks", "MergedParts", "by_first_shard", "unit_spans", "units_per_block"]

Ids = npt.NDArray[np.int64]

_BLOCK_BYTES = 256 << 20
"""Bytes of a block while it is merged, about."""

_LIST_BYTES = 2 * 16 * 4
"""Bytes of a place of the lists of a unit: both sides, of the merge, a part and their union."""


def units_per_block(k: int) -> int:
    """Units of a block: those of a row group of a part, or a fraction of them where lists are long."""
    units = UNITS_PER_GROUP
    while units > 1 and units * (k * _LIST_BYTES + stats.BUCKETS * 16) > _BLOCK_BYTES:
        units //= 2
    return units


def unit_spans(units: int, most: int) -> Iterator[slice]:
    """Spans of about `most` units.

    None has a single unit unless it is the only one: NumPy adds up a single column in another order, and
    sums would depend on the division.

    Args:
        units: to divide.
        most: of a span, give or take one.
    """
    first = 0
    while first < units:
        last = min(first + max(most, 2), units)
        last += units - last == 1
        yield slice(first, last)
        first = last


def by_first_shard(commits: Sequence[Commit]) -> tuple[Commit, ...]:
    """The parts that have shards, in the order in which they are merged.

    Raises:
        StoreError: when a shard is in two of them.
    """
    seen: set[str] = set()
    for commit in commits:
        for shard in commit.shards:
            if shard.name in seen:
                raise StoreError(f"shard {shard.name} is in two parts; it would be counted twice")
            seen.add(shard.name)
    return tuple(sorted((c for c in commits if c.shards), key=lambda commit: commit.shards[0].name))


@dataclass(frozen=True, slots=True)
class BlockMerge:
    """Merges any block of units of committed parts; another process may do it.

    Args:
        commits: in the order in which their sums are added.
        ordinals: of the shards of all of them, by name.
        k: images kept per unit and side.
        images: of all of them.
    """

    commits: tuple[Commit, ...]
    ordinals: Mapping[str, int]
    k: int
    images: int

    def __call__(self, units: slice, advance: Callable[[], object] = int) -> UnitState:
        """The merged state of a block of units, without sums per label and sample.

        Args:
            units: the block.
            advance: called for each part.

        Raises:
            StoreError: when a part cannot be read.
        """
        merged = _Block(units.stop - units.start, self.k, self.images)

        def read(commit: Commit) -> PartBlock:
            return read_block(commit.folder, sum(shard.images for shard in commit.shards), units, self.k)

        with contextlib.closing(prefetch(read, self.commits)) as found:
            for commit, block in found:
                merged.add(block, self.renumber(commit))
                advance()
        return merged.state()

    def renumber(self, commit: Commit) -> Callable[[Ids], Ids]:
        """Replaces the part's ordinals in image_ids by those of the dataset."""
        ordinals = np.array([self.ordinals[shard.name] for shard in commit.shards], np.int64)

        def renumber(ids: Ids) -> Ids:
            known = ids != NO_IMAGE
            old = np.where(known, ids, 0)
            position = old & ((1 << POSITION_BITS) - 1)
            new = (ordinals[old >> POSITION_BITS] << POSITION_BITS) | position
            return np.where(known, new, NO_IMAGE)

        return renumber


class MergeBlocks(Protocol):
    """Merges blocks of units somewhere, in any order."""

    def __call__(self, merge: BlockMerge, blocks: Sequence[slice]) -> Iterator[tuple[int, UnitState]]:
        """Yield the number of a block and what `merge` gives for it."""


class MergedParts:
    """The merge of committed parts; to be closed.

    Args:
        commits: of disjoint shards, verified.
        units: of all layers together.
        folder: for files without names.
        advance: called for each part that was read.

    Raises:
        StoreError: when a part cannot be read, or has another number of units.
    """

    def __init__(
        self, commits: Sequence[Commit], units: int, folder: Path, *, advance: Callable[[], object] = int
    ) -> None:
        self.commits, self.units = by_first_shard(commits), units
        for commit in self.commits:
            if commit.units != units:
                raise StoreError(f"{commit.path} has {commit.units} units, the layers have {units}")
        self.k = self.commits[0].k if self.commits else 1
        shards = sorted((shard for commit in self.commits for shard in commit.shards), key=lambda s: s.name)
        self.images = sum(shard.images for shard in shards)
        ordinals = {shard.name: ordinal for ordinal, shard in enumerate(shards)}
        self._merge = BlockMerge(self.commits, ordinals, self.k, self.images)
        with contextlib.ExitStack() as stack:
            self.labels, self._sample = self._gather(folder, stack, advance)
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        """The open merge."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Close its files."""
        self._stack.close()

    def _gather(
        self, folder: Path, stack: contextlib.ExitStack, advance: Callable[[], object]
    ) -> tuple[LabelSums, StoredSample]:
        """What is over all units at once: the sums per label, without those of squares, and the sample."""
        labels, choice = StoredLabels(self.units, folder, stack), SampleChoice()

        def read(commit: Commit) -> tuple[PartLabels, tuple[Ids, Ids]]:
            of_labels = PartLabels.read(commit.folder, self.units, squares=False)
            return of_labels, read_sample_images(commit.folder)

        with contextlib.closing(prefetch(read, self.commits)) as found:
            for number, (commit, (of_labels, (hashes, image_id))) in enumerate(found):
                labels.add(of_labels)
                choice.add(number, commit.folder, hashes, self._merge.renumber(commit)(image_id))
                advance()
        return labels.sums(), choice.read(self.units, folder, stack)

    def spans(self) -> list[slice]:
        """The blocks of units."""
        return list(unit_spans(self.units, units_per_block(self.k)))

    def blocks(self, merge_blocks: MergeBlocks | None = None) -> Iterator[tuple[slice, UnitState]]:
        """The merged state of each block of units in order, without sums per label.

        Args:
            merge_blocks: merges them; in this process, one after another, if None.

        Raises:
            StoreError: when a part cannot be read.
        """
        spans = self.spans()
        done = merge_blocks(self._merge, spans) if merge_blocks else enumerate(map(self._merge, spans))
        waiting: dict[int, UnitState] = {}
        following = 0
        for number, merged in done:
            waiting[number] = merged
            while following in waiting:
                span = spans[following]
                yield span, replace(waiting.pop(following), sample=self._sample.columns(span))
                following += 1


class _Block:
    """A block of units to which parts are added in place."""

    def __init__(self, units: int, k: int, images: int) -> None:
        self.high, self.low = Ranked.empty(units, k), Ranked.empty(units, k)
        self.moments = stats.Moments.empty(units)
        self.histogram = np.zeros((units, stats.BUCKETS), stats.count_type(images))

    def add(self, part: PartBlock, renumber: Callable[[Ids], Ids]) -> None:
        """Add a part."""
        _enter(self.high, part.high, renumber)
        _enter(self.low, part.low, renumber)
        self.moments = stats.merge_moments(self.moments, part.moments)
        self.histogram.reshape(-1)[part.bucket] += part.count.astype(self.histogram.dtype)

    def state(self) -> UnitState:
        """What was added, without labels and sample."""
        units = len(self.histogram)
        return UnitState(
            self.high,
            self.low,
            self.moments,
            self.histogram,
            LabelSums.empty(units),
            PeakSample.empty(units),
        )


def _enter(lists: Ranked, other: Ranked, renumber: Callable[[Ids], Ids]) -> None:
    """Merge lists of another part into `lists`, where any of its images enters."""
    # The lists are sorted: a unit whose best new score is below its last place stays as it is.
    rows = (other.score[:, 0] >= lists.score[:, -1]).nonzero()[0]
    if not len(rows):
        return
    fresh = Ranked(other.score[rows], renumber(other.image_id[rows]), other.position[rows])
    old = Ranked(lists.score[rows], lists.image_id[rows], lists.position[rows])
    merged = merge_ranked(old, fresh)
    lists.score[rows], lists.image_id[rows], lists.position[rows] = (
        merged.score,
        merged.image_id,
        merged.position,
    )
