"""Merging blocks of units as work that an engine spreads."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from pipeline.engines.engine import Calls, Engine, Place
from pipeline.engines.sameness import refuse_blind
from pipeline.progress import Task
from pipeline.state.merging import BlockMerge, MergeBlocks
from pipeline.state.unit_state import UnitState

__all__ = ["MergeWork", "spread_merge"]

SPREAD_FROM = 256
"""Blocks of parts from which on starting processes for the merge pays: each takes about 10 ms."""


@dataclass(frozen=True, slots=True)
class MergeWork:
    """Merge blocks of units of committed parts.

    A block is merged from all parts in their order, and not part of them as in a tree: sums of floats depend
    on the order, and would have other bits than those of one process.

    Args:
        merge: of one block.
    """

    merge: BlockMerge

    @contextlib.contextmanager
    def open(self, place: Place) -> Iterator[Calls[slice, UnitState]]:
        """Look whether the parts are there.

        Raises:
            EngineError: when this process does not see them.
        """
        refuse_blind((commit.path for commit in self.merge.commits[:1]), place.node)

        def run(items: Sequence[slice], task: Task) -> Iterator[UnitState]:
            for units in items:
                yield self.merge(units, task.advance)

        yield run

    def label(self, item: slice) -> str:
        """The numbers of the first and the last unit."""
        return f"units {item.start} to {item.stop - 1}"


def spread_merge(engine: Engine | None, task: Task) -> MergeBlocks:
    """Merge blocks on an engine where that pays, else in this process.

    Args:
        engine: None for this process.
        task: advanced for each part of each block.
    """

    def merge_blocks(merge: BlockMerge, blocks: Sequence[slice]) -> Iterator[tuple[int, UnitState]]:
        few = len(blocks) < 2 or len(blocks) * len(merge.commits) < SPREAD_FROM
        if engine is None or not engine.is_apart or engine.slots < 2 or few:
            for number, units in enumerate(blocks):
                yield number, merge(units, task.advance)
            return
        # Another process may have another working directory.
        commits = tuple(replace(commit, path=commit.path.absolute()) for commit in merge.commits)
        work = MergeWork(replace(merge, commits=commits))
        with contextlib.closing(engine.map(work, blocks, task)) as done:
            yield from done

    return merge_blocks
