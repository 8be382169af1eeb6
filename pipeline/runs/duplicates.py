"""Finds images of the same bytes or almost the same perceptual hash, over the whole dataset.

DuckDB finds them in a few columns of the parts, and spills to a folder in OUT what exceeds its memory. They
are read as the table of images is written: only the pairs of near hashes are in memory, 16 bytes each.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.errors import StoreError
from pipeline.image_id import POSITION_BITS
from pipeline.images.hashes import NEAR_BITS
from pipeline.state.commit import Commit
from pipeline.state.part import ShardRecord
from pipeline.store.leftovers import SPILL

__all__ = ["Duplicates", "find_duplicates", "follow_roots"]

Ids = npt.NDArray[np.int64]

Pairs = tuple[Ids, Ids]
"""image_ids of duplicates, rising, and for each the lower image_id of an image like it."""

_BATCH_ROWS = 1 << 16

_MEMORY = "1GB"
"""Memory that DuckDB may use before it spills; 1.28 million images need about a third of it."""

_IMAGES_PER_THREAD = 2_000_000

_BANDS = ((0, 21), (21, 21), (42, 22))
"""First bit and number of bits. Two hashes that differ in two bits are equal in one band of three."""

_MAX_BUCKET = 256
"""Largest number of hashes with equal bits in a band that are compared in pairs. It bounds the work on
datasets of very many or very similar images; beyond it only equal hashes are found."""

_FIRSTS = f"""
    CREATE TEMP TABLE numbered AS
    SELECT (ordinal << {POSITION_BITS}) | (image_id & {(1 << POSITION_BITS) - 1}) AS image_id,
        digest, phash
    FROM read_parquet(getvariable('files'), filename = true) AS images
    JOIN mapping ON images.filename = mapping.filename AND image_id >> {POSITION_BITS} = own;

    CREATE TEMP TABLE firsts AS
    SELECT phash, min(image_id) AS image_id FROM numbered WHERE phash IS NOT NULL GROUP BY phash;

    CREATE TEMP TABLE same AS
    SELECT digest, min(image_id) AS image_id FROM numbered GROUP BY digest HAVING count(*) > 1;
"""
"""The first image of every perceptual hash, and of every digest that occurs more than once."""

_NEAR = f"""
    WITH bands AS (
        {
    " UNION ALL ".join(
        f"SELECT phash, image_id, {first} AS band, (phash >> {first}) & {(1 << bits) - 1} AS key FROM firsts"
        for first, bits in _BANDS
    )
}
    ), shared AS (
        SELECT band, key FROM bands GROUP BY band, key HAVING count(*) BETWEEN 2 AND {_MAX_BUCKET}
    ), buckets AS (
        SELECT * FROM bands SEMI JOIN shared USING (band, key)
    )
    SELECT later.image_id AS image_id, min(earlier.image_id) AS earlier
    FROM buckets AS later JOIN buckets AS earlier USING (band, key)
    WHERE earlier.image_id < later.image_id
        AND bit_count(xor(earlier.phash, later.phash)) <= {NEAR_BITS}
    GROUP BY later.image_id ORDER BY later.image_id
"""
"""For the first image of each hash, the earliest image of a hash within `NEAR_BITS` of it."""

_DUPLICATES = """
    SELECT numbered.image_id AS image_id,
        least(coalesce(roots.root, firsts.image_id), same.image_id) AS first
    FROM numbered
    LEFT JOIN firsts ON firsts.phash = numbered.phash
    LEFT JOIN roots ON roots.image_id = firsts.image_id
    LEFT JOIN same ON same.digest = numbered.digest
    WHERE least(coalesce(roots.root, firsts.image_id), same.image_id) < numbered.image_id
    ORDER BY numbered.image_id
"""
"""Every duplicate and the first image like it; `least` ignores NULL."""


class Duplicates:
    """Every duplicate and the first image like it, taken in the order of images.

    Args:
        batches: pairs, rising.
    """

    def __init__(self, batches: Iterator[Pairs]) -> None:
        self._batches = batches
        self._ids = self._first = np.zeros(0, np.int64)
        self._more = True

    def mark(self, images: pa.Table) -> pa.Table:
        """Numbered images with `duplicate_of`; all of them above those marked before.

        Raises:
            StoreError: when DuckDB has no room.
        """
        ids = images["image_id"].to_numpy()
        marked, first = self._up_to(int(ids[-1])) if len(ids) else (ids, ids)
        row = np.searchsorted(marked, ids).clip(max=max(len(marked) - 1, 0))
        found = marked[row] == ids if len(marked) else np.zeros(len(ids), bool)
        duplicate_of = pa.array(first[row] if len(marked) else ids, mask=~found)
        return images.set_column(images.column_names.index("duplicate_of"), "duplicate_of", duplicate_of)

    def _up_to(self, last: int) -> Pairs:
        """The next pairs, up to an image."""
        ids, first = [self._ids], [self._first]
        while self._more and (not len(ids[-1]) or ids[-1][-1] <= last):
            batch = next(self._batches, None)
            self._more = batch is not None
            if batch is not None:
                ids.append(batch[0])
                first.append(batch[1])
        all_ids, all_first = np.concatenate(ids), np.concatenate(first)
        count = int(np.searchsorted(all_ids, last, side="right"))
        self._ids, self._first = all_ids[count:], all_first[count:]
        return all_ids[:count], all_first[:count]


@contextlib.contextmanager
def find_duplicates(
    out: Path, commits: Sequence[Commit], shards: Sequence[ShardRecord]
) -> Iterator[Duplicates]:
    """Find every duplicate.

    Args:
        out: folder of the index, in which DuckDB spills.
        commits: of disjoint shards.
        shards: of all commits, sorted by name; their places are the ordinals.

    Raises:
        StoreError: when there is no room for it.
    """
    if not commits:
        yield Duplicates(iter(()))
        return
    files = [str(commit.folder / "images.parquet") for commit in commits]
    with _connection(out, sum(shard.images for shard in shards)) as connection:
        connection.execute("SET VARIABLE files = $files", {"files": files})
        connection.register("mapping", _mapping(commits, shards))
        connection.execute(_FIRSTS)
        first, second = connection.sql(_NEAR).fetchnumpy().values()
        nodes, earlier = np.asarray(first, np.int64), np.asarray(second, np.int64)
        roots = pa.table({"image_id": nodes, "root": follow_roots(nodes, earlier)})
        connection.register("roots", roots)
        with contextlib.closing(_pairs(out, connection)) as pairs:
            yield Duplicates(pairs)


def _pairs(out: Path, connection: Any) -> Generator[Pairs, None, None]:
    with _room_for(out):
        for batch in connection.sql(_DUPLICATES).to_arrow_reader(_BATCH_ROWS):
            first, second = (column.to_numpy(zero_copy_only=False) for column in batch.columns)
            yield first.astype(np.int64), second.astype(np.int64)


@contextlib.contextmanager
def _connection(out: Path, images: int) -> Iterator[Any]:
    """A database with bounded memory; each thread needs some of it, so their number is limited."""
    import duckdb

    threads = min(os.cpu_count() or 1, 1 + images // _IMAGES_PER_THREAD)
    config = {
        "temp_directory": str(out / SPILL),
        "memory_limit": _MEMORY,
        "threads": str(threads),
        "preserve_insertion_order": "false",
    }
    with _room_for(out), duckdb.connect(config=config) as connection:
        connection.execute("SET enable_progress_bar = false")
        yield connection


@contextlib.contextmanager
def _room_for(out: Path) -> Iterator[None]:
    import duckdb

    try:
        yield
    except (duckdb.Error, pa.ArrowException) as error:
        reason = str(error).splitlines()[0]
        raise StoreError(
            f"cannot find duplicates in the parts of {out}: {reason}; the parts are intact. Free "
            "some space or memory, and run the same command again"
        ) from error


def _mapping(commits: Sequence[Commit], shards: Sequence[ShardRecord]) -> pa.Table:
    """Maps a shard's ordinal in its part (`own`) to its ordinal in the dataset."""
    ordinal = {shard.name: number for number, shard in enumerate(shards)}
    rows = [
        (str(commit.folder / "images.parquet"), own, ordinal[shard.name])
        for commit in commits
        for own, shard in enumerate(commit.shards)
    ]
    files, own, ordinals = zip(*rows, strict=True)
    return pa.table(
        {
            "filename": pa.array(files),
            "own": pa.array(own, pa.int64()),
            "ordinal": pa.array(ordinals, pa.int64()),
        }
    )


def follow_roots(nodes: Ids, earlier: Ids) -> Ids:
    """Follow each chain of duplicates to its first image.

    Args:
        nodes: (pair,) image_ids, sorted and unique.
        earlier: (pair,) for each the lower image_id of an image like it.

    Returns:
        (pair,) the image_id at the end of each chain; never one of `nodes`.
    """
    root = earlier.copy()
    while len(nodes):
        row = np.searchsorted(nodes, root).clip(max=len(nodes) - 1)
        further = nodes[row] == root
        if not further.any():
            break
        root = np.where(further, root[row], root)
    return root
