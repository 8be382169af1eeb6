"""The rows of the parts' tables of images and errors, shard by shard."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import pyarrow as pa

from pipeline.errors import StoreError
from pipeline.state.commit import Commit
from pipeline.state.part import ShardRecord
from pipeline.store.table_files import TableFile

__all__ = ["in_order"]

_BATCH_ROWS = 1 << 13

_OPEN = 32
"""Parts that are open at once. Where the shards of more are mixed by name, rows of a part are skipped when
it is opened again: that takes time, but neither memory nor file descriptors."""


class _Rows:
    """The rows of a part's table from one on, read a batch at a time."""

    def __init__(self, path: Path, columns: Sequence[str], first: int) -> None:
        self.path = path
        self.file = TableFile(path)
        self.batches: Iterator[pa.RecordBatch] = self.file.batches(columns, _BATCH_ROWS, first=first)
        self.rest = self.file.schema.empty_table()

    def take(self, count: int) -> Iterator[pa.Table]:
        """The next `count` rows, in pieces."""
        while count:
            if not self.rest.num_rows:
                batch = next(self.batches, None)
                if batch is None:
                    raise StoreError(f"{self.path} has fewer rows than its commit file says")
                self.rest = pa.Table.from_batches([batch])
            piece = self.rest.slice(0, count)
            self.rest = self.rest.slice(piece.num_rows)
            count -= piece.num_rows
            yield piece

    def close(self) -> None:
        """Close the file."""
        self.file.close()


def in_order(
    commits: Sequence[Commit],
    shards: Sequence[ShardRecord],
    table: Literal["images", "errors"],
    columns: Sequence[str],
) -> Iterator[tuple[int, pa.Table]]:
    """Rows with the ordinal of their shard, in pieces. A part has them in the order of its shards.

    Args:
        commits: of disjoint shards.
        shards: of all commits, sorted by name.
        table: `images` or `errors`.
        columns: to read.

    Raises:
        StoreError: when a part cannot be read, or has fewer rows than its commit file says.
    """
    part_of = {shard.name: commit for commit in commits for shard in commit.shards}
    opened: OrderedDict[Path, _Rows] = OrderedDict()
    taken: dict[Path, int] = {}
    try:
        for ordinal, shard in enumerate(shards):
            commit, count = part_of[shard.name], getattr(shard, table)
            path = commit.folder / f"{table}.parquet"
            if path not in opened:
                if len(opened) == _OPEN:
                    opened.popitem(last=False)[1].close()
                opened[path] = _Rows(path, columns, taken.get(path, 0))
            opened.move_to_end(path)
            for piece in opened[path].take(count):
                yield ordinal, piece
            taken[path] = taken.get(path, 0) + count
            if shard.name == commit.shards[-1].name:
                opened.pop(path).close()
                del taken[path]
    finally:
        for rows in opened.values():
            rows.close()
