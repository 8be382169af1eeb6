"""Which shards are committed together, and which of these groups a run indexes.

A range consists of whole groups of the complete dataset, so that the parts of N runs over N ranges are
those of one run, and merging them gives the same index bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pipeline.config import RunConfig, read_range
from pipeline.data.dataset import Dataset
from pipeline.data.shard import Shard
from pipeline.errors import UsageError
from pipeline.progress import readable_count

__all__ = ["divide", "in_range", "indexed_range", "shards_per_part"]

_PARTS_PER_RUN = 32
_MAX_SHARDS_PER_PART = 64

_PARTS_PER_SLOT = 4
"""Parts for each slot of an engine, at least: the last ones of a run then keep all slots busy."""


def shards_per_part(dataset: Dataset, config: RunConfig, slots: int = 1) -> int:
    """The number of shards that are committed together.

    Args:
        dataset: the complete one.
        config: the run.
        slots: groups that are indexed at the same time.
    """
    asked = config.shards_per_part or config.spread.shards_per_task
    if asked is not None:
        return asked
    parts = max(_PARTS_PER_RUN, _PARTS_PER_SLOT * slots)
    return min(_MAX_SHARDS_PER_PART, math.ceil(len(dataset.shards) / parts))


def divide(shards: Sequence[Shard], size: int) -> list[Sequence[Shard]]:
    """The shards in groups of `size`, the last one smaller."""
    return [shards[first : first + size] for first in range(0, len(shards), size)]


def in_range(dataset: Dataset, number: int, count: int, size: int) -> Dataset:
    """One of several ranges of a dataset, which differ by one group of shards at most.

    Args:
        dataset: the complete one.
        number: of the range, from 1.
        count: of ranges.
        size: shards of a group.

    Raises:
        UsageError: when there are more ranges than groups.
    """
    groups = divide(dataset.shards, size)
    if count > len(groups):
        raise UsageError(
            f"--shard-range {number}/{count}: {dataset.name} is divided into "
            f"{readable_count(len(groups), 'group')} of shards that are committed together; give at most as "
            "many ranges, or a smaller --shards-per-part"
        )
    first, last = (len(groups) * place // count for place in (number - 1, number))
    return replace(dataset, shards=tuple(shard for group in groups[first:last] for shard in group))


def indexed_range(dataset: Dataset, recorded: Mapping[str, Any]) -> Dataset:
    """The range of a dataset that a recorded run indexed; the whole for one without a range.

    Args:
        dataset: the complete one.
        recorded: `config` of its run.json.
    """
    found = read_range(recorded.get("shard_range"))
    return dataset if found is None else in_range(dataset, *found, recorded["shards_per_part"])
