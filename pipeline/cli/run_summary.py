"""The line that a command ends with when it has written an index."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.cli.output import print_line
from pipeline.errors import TooManyBadImages
from pipeline.progress import readable_count, readable_duration

if TYPE_CHECKING:
    from pipeline.store.run_file import RunSummary

__all__ = ["print_summary"]


def print_summary(summary: RunSummary) -> None:
    """Print what the index holds, and how many images could not be used.

    Raises:
        TooManyBadImages: when none could be used.
    """
    resumed = readable_count(summary.resumed_shards, "shard")
    print_line(
        f"{summary.out}: {readable_count(summary.images, 'image')}, "
        f"{readable_count(summary.units, 'unit')} in {readable_count(summary.layers, 'layer')}, "
        f"{readable_duration(summary.seconds)}"
        f"{f', {resumed} from an earlier run' if summary.resumed_shards else ''}"
    )
    if not summary.errors:
        return
    look = f"maxact sql {summary.out} 'SELECT * FROM errors'"
    images = readable_count(summary.errors, "image")
    if not summary.images:
        raise TooManyBadImages(f"none of {images} could be used: {look}")
    print_line(f"{images} could not be used: {look}")
