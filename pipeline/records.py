"""The tables of images and errors, from the committed parts: as large as the dataset, so streamed.

DuckDB renumbers and sorts the images and marks duplicates; what does not fit into memory lies in
OUT while it works.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline import store
from pipeline.errors import StoreError
from pipeline.part import ShardRecord
from pipeline.parts import Commit
from pipeline.shards import POSITION_BITS

__all__ = ["write_records"]

_SPILL = ".spill"
"""Folder in OUT for what a sort does not keep in memory; removed when it is done."""

_IMAGES = f"""
    WITH renumbered AS (
        SELECT images.* REPLACE (
            (ordinal << {POSITION_BITS}) | (image_id & {(1 << POSITION_BITS) - 1}) AS image_id
        )
        FROM read_parquet($files, filename = true) AS images
        JOIN mapping ON images.filename = mapping.filename AND image_id >> {POSITION_BITS} = own
    ), first_seen AS (
        SELECT *,
            min(image_id) OVER (PARTITION BY digest) AS same_bytes,
            CASE WHEN phash IS NOT NULL
                THEN min(image_id) OVER (PARTITION BY phash) END AS same_picture
        FROM renumbered
    )
    SELECT * EXCLUDE (filename, same_bytes, same_picture) REPLACE (
        CASE WHEN least(same_bytes, same_picture) < image_id
            THEN least(same_bytes, same_picture) END AS duplicate_of
    )
    FROM first_seen ORDER BY image_id
"""

_ERRORS = "SELECT * FROM read_parquet($files) ORDER BY shard, key, error, message"


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
        images = _select(connection, _IMAGES, commits, shards, "images")
        store.write_table(out / "images.parquet", store.IMAGES, images, metadata=footer)
        errors = _select(connection, _ERRORS, commits, shards, "errors")
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


def _select(
    connection: Any,
    query: str,
    commits: Sequence[Commit],
    shards: Sequence[ShardRecord],
    table: str,
) -> Iterator[pa.RecordBatch]:
    """The rows of one table of all parts, batch by batch."""
    if not commits:
        return iter(())
    ordinal = {shard.name: number for number, shard in enumerate(shards)}
    files = [(commit, str(commit.folder / f"{table}.parquet")) for commit in commits]
    mapping = pa.table(
        {
            "filename": [name for commit, name in files for _ in commit.shards],
            "own": pa.array(
                [number for commit in commits for number in range(len(commit.shards))], pa.int64()
            ),
            "ordinal": pa.array(
                [ordinal[shard.name] for commit in commits for shard in commit.shards], pa.int64()
            ),
        }
    )
    connection.register("mapping", mapping)
    result = connection.sql(query, params={"files": [name for _, name in files]})
    batches: Iterator[pa.RecordBatch] = iter(result.to_arrow_reader(store.ROW_GROUP_ROWS))
    return batches
