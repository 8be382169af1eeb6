"""The indexed images themselves: the dataset of an index, and the bytes of its images."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.data.content import byte_digest
from pipeline.data.dataset import Dataset, open_dataset
from pipeline.data.moved import open_moved
from pipeline.data.names import DEMO
from pipeline.errors import QueryError, SourceError, StoreError
from pipeline.store.trust import require_trust

if TYPE_CHECKING:
    from pipeline.query.index import Index

__all__ = ["ChangedImage", "open_indexed_dataset", "read_originals"]

_PLACES = """
SELECT image_id, digest, shard, key, "offset", bytes FROM images
WHERE image_id IN (SELECT unnest($ids)) ORDER BY image_id
"""


class ChangedImage(StoreError):
    """An image of the dataset is not the one that was indexed."""


def open_indexed_dataset(index: Index) -> Dataset:
    """The dataset of an index, opened where it was indexed, or where it was said to be now.

    Raises:
        SourceError: when it is no longer there, or lacks a shard of the index.
        UntrustedIndex: when the index says where it is, and is not trusted.
    """
    cache = index.run.get("config", {}).get("cache") if index.trusted else None
    cache = None if cache is None else Path(cache)
    recorded = tuple(index.run["dataset"]["data"])
    if not index.data:
        if recorded != (DEMO,):
            shown = [*map(ascii, recorded[:3]), *(["..."] if len(recorded) > 3 else [])]
            what = f"its dataset ({', '.join(shown)})"
            require_trust(index.out, what, trusted=index.trusted, remedy="--data FOLDER (data=...)")
        try:
            return open_dataset(recorded, cache=cache)
        except SourceError as error:
            raise SourceError(f"{error}; if the dataset has moved, say where it is now (--data)") from error
    dataset = open_moved(recorded, index.data, cache=cache)
    rows = index.sql("SELECT DISTINCT shard FROM images ORDER BY shard").rows
    there = {shard.name for shard in dataset.shards}
    missing = [name for (name,) in rows if name not in there]
    if missing:
        raise SourceError(
            f"--data {' '.join(index.data)} has no shard {missing[0]} "
            f"({len(missing):,} of {len(rows):,} of the index in {index.out} are missing); give the path "
            f"that corresponds to {', '.join(recorded[:3])}{', ...' if len(recorded) > 3 else ''}"
        )
    return dataset


def read_originals(index: Index, image_ids: Iterable[int]) -> Iterator[tuple[int, bytes]]:
    """The encoded bytes of images, in the order of their numbers.

    Raises:
        QueryError: when the index has no such image.
        SourceError: when the dataset has moved, or no longer has an image.
        ChangedImage: when an image has other bytes than when it was indexed.
    """
    try:
        wanted = sorted({operator.index(image_id) for image_id in image_ids})
    except TypeError as error:
        raise QueryError(f"image_ids must be whole numbers: {error}") from error
    rows = index.sql(_PLACES, ids=wanted).rows
    missing = sorted(set(wanted) - {row[0] for row in rows})
    if missing:
        raise QueryError(f"{index.out} has no image with image_id {missing[0]}")
    for image_id, digest, shard, key, offset, size in rows:
        data = index.dataset.read(shard, key, offset, size)
        if byte_digest(data) != digest:
            raise ChangedImage(
                f"image {key!r} of shard {shard}: the bytes read back are not those that were indexed; "
                "the dataset has changed since it was indexed, restore it or index again"
            )
        yield image_id, data
