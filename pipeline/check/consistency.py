"""Consistency of the tables of an index: what must hold for any network, checked in all rows by SQL."""

from __future__ import annotations

import heapq
from collections.abc import Iterator

from pipeline.check.findings import Discrepancy, Findings, find_by_sql
from pipeline.check.rules_images import IMAGE_RULES
from pipeline.check.rules_lists import LIST_RULES
from pipeline.check.rules_predictions import PREDICTION_RULES
from pipeline.check.rules_units import UNIT_RULES
from pipeline.image_id import MAX_POSITIONS
from pipeline.query.index import Index
from pipeline.state.sample import PER_STRATUM, SAMPLE_SIZE, image_hash
from pipeline.state.statistics import bucket_bounds

__all__ = ["Discrepancy", "check_consistency", "find_inconsistencies"]

_IDS_PER_QUERY = 1 << 16
"""Images whose numbers are held at once."""


def find_inconsistencies(index: Index, *, top: int) -> tuple[Discrepancy, ...]:
    """As `check_consistency`, but only what is described.

    Args:
        index: open.
        top: images kept per unit and side.
    """
    return tuple(found for test in check_consistency(index, top=top) for found in test.kept)


def check_consistency(index: Index, *, top: int) -> Iterator[Findings]:
    """Compare the tables of an index with each other, rule by rule.

    Args:
        index: open.
        top: images kept per unit and side.
    """
    lower, upper = (bounds.tolist() for bounds in bucket_bounds())
    parameters: dict[str, object] = {
        "top": top,
        "lower": lower,
        "upper": upper,
        "classes": index.run["config"]["classes"] or 1 << 53,
        "shards": index.run["dataset"]["shards"],
        "sample": _sampled_images(index),
        "per_stratum": PER_STRATUM,
    }
    for rule in (*IMAGE_RULES, *UNIT_RULES, *LIST_RULES, *PREDICTION_RULES):
        named = {name: value for name, value in parameters.items() if f"${name}" in rule}
        yield find_by_sql(index, rule, **named)


def _sampled_images(index: Index) -> list[int]:
    """The images of lowest hash, from which all strata are drawn."""
    lowest = heapq.nsmallest(SAMPLE_SIZE, _hashed_images(index))
    return [image_id for _, image_id in lowest]


def _hashed_images(index: Index) -> Iterator[tuple[int, int]]:
    """(hash, image_id) of every image."""
    first = -1
    while rows := index.sql(
        "SELECT image_id, shard FROM images WHERE image_id > $first ORDER BY image_id LIMIT $count",
        first=first,
        count=_IDS_PER_QUERY,
    ).rows:
        for image_id, shard in rows:
            yield image_hash(str(shard), image_id & (MAX_POSITIONS - 1)), image_id
        first = rows[-1][0]
