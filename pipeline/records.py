"""The tables of images and errors, from the committed parts: as large as the dataset, so streamed.

DuckDB renumbers and sorts the images and marks duplicates; what does not fit into memory lies in
OUT while it works.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline import store
from pipeline.duplicates import NEAR_BITS, follow_roots
from pipeline.errors import StoreError
from pipeline.part import ShardRecord
from pipeline.parts import Commit
from pipeline.shards import POSITION_BITS

__all__ = ["write_records"]

_SPILL = ".spill"
"""Folder in OUT for what a sort does not keep in memory; removed when it is done."""

_BANDS = ((0, 21), (21, 21), (42, 22))
"""First bit and number of bits. Two hashes that differ in two bits agree in one band of three."""

_MAX_BUCKET = 256
"""Hashes that share a band, above which they are not compared one by one: it bounds the work on
datasets of very many or very similar images, of which then only equal hashes are found."""

_RENUMBERED = f"""
    CREATE VIEW renumbered AS
    SELECT images.* REPLACE (
        (ordinal << {POSITION_BITS}) | (image_id & {(1 << POSITION_BITS) - 1}) AS image_id
    )
    FROM read_parquet(getvariable('files'), filename = true) AS images
    JOIN mapping ON images.filename = mapping.filename AND image_id >> {POSITION_BITS} = own
"""

_FIRSTS = """
    CREATE TEMP TABLE firsts AS
    SELECT phash, min(image_id) AS image_id FROM renumbered WHERE phash IS NOT NULL GROUP BY phash
"""
"""The first image of every perceptual hash."""

_NEAR = f"""
    WITH bands AS (
        {
    " UNION ALL ".join(
        f"SELECT phash, image_id, {first} AS band, (phash >> {first}) & {(1 << bits) - 1} AS key "
        "FROM firsts"
        for first, bits in _BANDS
    )
}
    ), buckets AS (
        SELECT * FROM bands QUALIFY count(*) OVER (PARTITION BY band, key) <= {_MAX_BUCKET}
    )
    SELECT later.image_id AS image_id, min(earlier.image_id) AS earlier
    FROM buckets AS later JOIN buckets AS earlier USING (band, key)
    WHERE earlier.image_id < later.image_id
        AND bit_count(xor(earlier.phash, later.phash)) <= {NEAR_BITS}
    GROUP BY later.image_id ORDER BY later.image_id
"""
"""The first image whose hash is nearly that of another; only firsts of their hash."""

_IMAGES = """
    SELECT images.* EXCLUDE (filename) REPLACE (
        nullif(
            least(
                coalesce(roots.root, firsts.image_id, images.image_id),
                min(images.image_id) OVER (PARTITION BY images.digest)
            ),
            images.image_id
        ) AS duplicate_of
    )
    FROM renumbered AS images
    LEFT JOIN firsts ON firsts.phash = images.phash
    LEFT JOIN roots ON roots.image_id = firsts.image_id
    ORDER BY images.image_id
"""

_ERRORS = """
    SELECT * FROM read_parquet(getvariable('files')) ORDER BY shard, key, error, message
"""


def write_records(
    out: Path,
    commits: Sequence[Commit],
    shards: Sequence[ShardRecord],
    footer: Mapping[str, str],
) -> None:
    """Write images.parquet and errors.parquet: renumbered, sorted, near-duplicates marked.

    Args:
        out: the index's folder.
        commits: over disjoint shards.
        shards: those of all commits, sorted by name; their places are the ordinals.
        footer: goes into the files.

    Raises:
        StoreError: when a table cannot be read or written.
    """
    with _connection(out) as connection:
        images = _images(connection, commits, shards)
        store.write_table(out / "images.parquet", store.IMAGES, images, metadata=footer)
        errors = _errors(connection, commits)
        store.write_table(out / "errors.parquet", store.ERRORS, errors, metadata=footer)


@contextlib.contextmanager
def _connection(out: Path) -> Iterator[Any]:
    import duckdb

    try:
        with duckdb.connect(config={"temp_directory": str(out / _SPILL)}) as connection:
            connection.execute("SET enable_progress_bar = false")
            yield connection
    except (duckdb.Error, pa.ArrowException) as error:
        reason = str(error).splitlines()[0]
        raise StoreError(
            f"cannot put the images of all parts together in {out}: {reason}; the parts are "
            "intact, free some space or memory and run the same command again"
        ) from error


def _images(
    connection: Any, commits: Sequence[Commit], shards: Sequence[ShardRecord]
) -> Iterator[pa.RecordBatch]:
    """The rows of all parts by image_id, batch by batch."""
    if not commits:
        return iter(())
    _set_files(connection, commits, "images")
    connection.register("mapping", _mapping(commits, shards))
    connection.execute(_RENUMBERED)
    connection.execute(_FIRSTS)
    near = connection.sql(_NEAR).fetchnumpy()
    nodes, earlier = (np.asarray(near[name], np.int64) for name in ("image_id", "earlier"))
    connection.register(
        "roots", pa.table({"image_id": nodes, "root": follow_roots(nodes, earlier)})
    )
    return _stream(connection, _IMAGES)


def _errors(connection: Any, commits: Sequence[Commit]) -> Iterator[pa.RecordBatch]:
    if not commits:
        return iter(())
    _set_files(connection, commits, "errors")
    return _stream(connection, _ERRORS)


def _stream(connection: Any, query: str) -> Iterator[pa.RecordBatch]:
    batches: Iterator[pa.RecordBatch] = iter(
        connection.sql(query).to_arrow_reader(store.ROW_GROUP_ROWS)
    )
    return batches


def _set_files(connection: Any, commits: Sequence[Commit], table: str) -> None:
    files = [str(commit.folder / f"{table}.parquet") for commit in commits]
    connection.execute("SET VARIABLE files = $files", {"files": files})


def _mapping(commits: Sequence[Commit], shards: Sequence[ShardRecord]) -> pa.Table:
    """From a shard's number in its part to its ordinal in the dataset."""
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
