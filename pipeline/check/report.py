"""The result of a check in words: what was compared, and what a check without findings means."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.check.audit import MAX_SHOWN, Audit
from pipeline.progress import readable_count

__all__ = ["describe"]

_SHARES = (0.01, 0.05)
"""Shares of the listed images for which the chance to miss a forgery is stated."""


def describe(audit: Audit) -> Iterator[str]:
    """Lines for a reader.

    Args:
        audit: the result of a check.
    """
    hidden = audit.found - min(len(audit.discrepancies), MAX_SHOWN)
    if hidden > 0:
        yield f"... and {hidden:,} more"
    if audit.rebuilt:
        yield "tables: every row compared with a merge of the parts"
    if audit.all_shards:
        yield f"dataset: {audit.shards:,} of {readable_count(audit.all_shards, 'shard')} read and compared"
    yield from (f"not tested: {note}" for note in audit.notes)
    if audit.choice is not None:
        yield (
            f"{readable_count(audit.images, 'image')} of {audit.choice.images:,} run again: "
            f"{readable_count(audit.peaks, 'recorded peak')} and "
            f"{readable_count(audit.absences, 'absence')} compared; "
            f"largest relative difference {audit.worst:.1e}"
        )
        if not audit.choice.complete:
            chances = ", ".join(
                f"{audit.choice.miss(share):.2g} if {share:.0%} are forged" for share in _SHARES
            )
            yield (
                f"sample: {audit.choice.listed_drawn:,} of the {audit.choice.listed:,} images on lists were "
                f"drawn; no forged one is among them with probability {chances}; --all runs every image"
            )
    yield f"{audit.found:,} {'discrepancy' if audit.found == 1 else 'discrepancies'} found"
