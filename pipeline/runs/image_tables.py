"""Writes the tables of images, predictions and errors from the committed parts.

Both are as large as the dataset, so rows are streamed part by part. Only duplicates need the whole
dataset: DuckDB finds them in a few columns, and spills to a folder in OUT what exceeds its memory.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import StoreError
from pipeline.image_id import POSITION_BITS
from pipeline.images.hashes import NEAR_BITS
from pipeline.runs.label_names import rename_column
from pipeline.runs.predictions import Classifier
from pipeline.state.commit import Commit
from pipeline.state.part import ShardRecord
from pipeline.store import tables as store
from pipeline.store.digests import FileDigest
from pipeline.store.leftovers import SPILL
from pipeline.store.schemas import ERRORS, IMAGES, PREDICTIONS

__all__ = ["IMAGES_ROW_GROUP", "follow_roots", "write_records"]

Duplicates = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]
"""image_ids of duplicates, rising, and for each the lower image_id of an image like it."""

_PREDICTED = ("image_id", "label", "classes", "scores", "probabilities")
"""Columns of a part's images of which `predictions` is made."""

_MEMORY = "1GB"
"""Memory that DuckDB may use before it spills; 1.28 million images need about a third of it."""

_IMAGES_PER_THREAD = 2_000_000

IMAGES_ROW_GROUP = 1 << 13
"""Rows of a row group of `images`: a query for a few of them decodes no more of each that has one."""

_BANDS = ((0, 21), (21, 21), (42, 22))
"""First bit and number of bits. Two hashes that differ in two bits are equal in one band of three."""

_MAX_BUCKET = 256
"""Largest number of hashes with equal bits in a band that are compared in pairs. It bounds the work on
datasets of very many or very similar images; beyond it only equal hashes are found."""

_FIRSTS = f"""
    CREATE VIEW numbered AS
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


def write_records(
    out: Path,
    commits: Sequence[Commit],
    shards: Sequence[ShardRecord],
    footer: Mapping[str, str],
    names: Mapping[str, str],
    classifier: Classifier | None,
) -> dict[str, FileDigest]:
    """Write the tables of images, predictions and errors: renumbered, sorted, with duplicates marked.

    Args:
        out: folder of the index.
        commits: of disjoint shards.
        shards: of all commits, sorted by name; their places are the ordinals.
        footer: metadata of the files.
        names: of labels, where they are to be renamed; otherwise empty.
        classifier: gives the rows of `predictions`; None for none.

    Returns:
        The digest of each table.

    Raises:
        StoreError: when a table cannot be read or written.
    """
    duplicates = _find_duplicates(out, commits, shards)
    images = _in_order(commits, shards, "images")
    numbered = (
        _mark(_number(table.select(IMAGES.names), ordinal), duplicates)
        for ordinal, table in enumerate(images)
    )
    if names:
        numbered = (rename_column(table, names) for table in numbered)
    errors = _in_order(commits, shards, "errors")
    predictions: Iterator[pa.Table] = iter(())
    if classifier is not None:
        again = enumerate(_in_order(commits, shards, "images", columns=_PREDICTED))
        predictions = (classifier.rows(_number(table, ordinal)) for ordinal, table in again)
    return {
        "images": store.write_table(
            out / "images.parquet", IMAGES, numbered, metadata=footer, row_group_rows=IMAGES_ROW_GROUP
        ),
        "errors": store.write_table(out / "errors.parquet", ERRORS, errors, metadata=footer),
        "predictions": store.write_table(
            out / "predictions.parquet", PREDICTIONS, predictions, metadata=footer
        ),
    }


class _Rows:
    """The rows of a part's table, read one batch at a time."""

    def __init__(self, path: Path, columns: Sequence[str] | None) -> None:
        self.path = path
        self.file = pq.ParquetFile(path)
        self.batches: Iterator[pa.RecordBatch] = self.file.iter_batches(columns=columns)
        empty = self.file.schema_arrow.empty_table()
        self.rest = empty if columns is None else empty.select(columns)

    def take(self, count: int) -> pa.Table:
        """The next `count` rows."""
        tables = [self.rest]
        while sum(table.num_rows for table in tables) < count:
            batch = next(self.batches, None)
            if batch is None:
                raise StoreError(f"{self.path} has fewer rows than its commit file says")
            tables.append(pa.Table.from_batches([batch]))
        table = pa.concat_tables(tables)
        self.rest = table.slice(count)
        return table.slice(0, count)


def _in_order(
    commits: Sequence[Commit],
    shards: Sequence[ShardRecord],
    table: Literal["images", "errors"],
    columns: Sequence[str] | None = None,
) -> Iterator[pa.Table]:
    """Each shard's rows. A part has them in the order of its shards, so each row is read once."""
    part_of = {shard.name: commit for commit in commits for shard in commit.shards}
    opened: dict[Path, _Rows] = {}
    for shard in shards:
        commit = part_of[shard.name]
        path = commit.folder / f"{table}.parquet"
        if path not in opened:
            opened[path] = _Rows(path, columns)
        yield opened[path].take(shard.images if table == "images" else shard.errors)
        if shard.name == commit.shards[-1].name:
            opened.pop(path).file.close()


def _number(images: pa.Table, ordinal: int) -> pa.Table:
    """One shard's images with their image_id in the dataset."""
    ids = images["image_id"].to_numpy() & ((1 << POSITION_BITS) - 1) | ordinal << POSITION_BITS
    return images.set_column(images.column_names.index("image_id"), "image_id", pa.array(ids))


def _mark(images: pa.Table, duplicates: Duplicates) -> pa.Table:
    """Numbered images with `duplicate_of`."""
    ids = images["image_id"].to_numpy()
    marked, first = duplicates
    row = np.searchsorted(marked, ids).clip(max=max(len(marked) - 1, 0))
    found = marked[row] == ids if len(marked) else np.zeros(len(ids), bool)
    duplicate_of = pa.array(first[row] if len(marked) else ids, mask=~found)
    return images.set_column(images.column_names.index("duplicate_of"), "duplicate_of", duplicate_of)


def _find_duplicates(out: Path, commits: Sequence[Commit], shards: Sequence[ShardRecord]) -> Duplicates:
    """Every duplicate and the first image like it, by image_id."""
    if not commits:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    files = [str(commit.folder / "images.parquet") for commit in commits]
    with _connection(out, sum(shard.images for shard in shards)) as connection:
        connection.execute("SET VARIABLE files = $files", {"files": files})
        connection.register("mapping", _mapping(commits, shards))
        connection.execute(_FIRSTS)
        nodes, earlier = _pairs(connection, _NEAR)
        roots = pa.table({"image_id": nodes, "root": follow_roots(nodes, earlier)})
        connection.register("roots", roots)
        return _pairs(connection, _DUPLICATES)


def _pairs(connection: Any, query: str) -> Duplicates:
    first, second = connection.sql(query).fetchnumpy().values()
    return np.asarray(first, np.int64), np.asarray(second, np.int64)


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
    try:
        with duckdb.connect(config=config) as connection:
            connection.execute("SET enable_progress_bar = false")
            yield connection
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


def follow_roots(nodes: npt.NDArray[np.int64], earlier: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
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
