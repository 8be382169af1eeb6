"""Parts in, one part out; and which committed parts may be counted together."""

from __future__ import annotations

from collections.abc import Iterable

from pipeline.state.commit import Commit
from pipeline.state.part import Part

__all__ = ["choose_disjoint", "merge_parts"]


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


def choose_disjoint(commits: Iterable[Commit]) -> tuple[tuple[Commit, ...], tuple[str, ...]]:
    """Choose committed parts so that no shard counts twice.

    A part whose shards are all counted already is left out; of two that overlap in part, the one
    with more shards stays. What only a dropped part held is left to be indexed again.

    Returns:
        The chosen commits, by their first shard, and the names of the shards that were lost.
    """
    chosen: list[Commit] = []
    covered: set[str] = set()
    everything: set[str] = set()
    ranked = sorted(commits, key=lambda item: (-len(item.shards), [s.name for s in item.shards]))
    for commit in ranked:
        names = {shard.name for shard in commit.shards}
        everything |= names
        if not names & covered:
            chosen.append(commit)
            covered |= names
    chosen.sort(key=lambda item: [shard.name for shard in item.shards])
    return tuple(chosen), tuple(sorted(everything - covered))
