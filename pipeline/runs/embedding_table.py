"""The table embeddings.parquet: an encoder's embedding of every patch, each once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import DamagedFile
from pipeline.runs.name_rows import ENCODER
from pipeline.store.layout import EMBEDDINGS_TABLE, footer_of, holds_embeddings
from pipeline.store.schemas import EMBEDDINGS
from pipeline.store.tables import read_sealed_table, write_table

__all__ = [
    "PATCH",
    "EmbeddingTable",
    "Patches",
    "embedding_column",
    "read_embeddings",
    "write_embeddings",
]

PATCH = np.dtype(
    [("image_id", np.int64), ("left", np.int32), ("top", np.int32), ("right", np.int32), ("bottom", np.int32)]
)
"""An image and a window of the network's input, in pixels."""

Patches = npt.NDArray[Any]
"""(patch,) of dtype `PATCH`."""

_ROW_GROUP_ROWS = 8_192
"""16 MB of embeddings with 512 dimensions."""


@dataclass(frozen=True, slots=True)
class EmbeddingTable:
    """Embeddings by patch.

    Args:
        patches: sorted, each once.
        values: (patch, dimension) float32 of length 1.
    """

    patches: Patches
    values: npt.NDArray[np.float32]

    def rows(self, patches: Patches) -> npt.NDArray[np.int64]:
        """The row of each patch, all of which must be there."""
        found: npt.NDArray[np.int64] = np.searchsorted(self.patches, patches)
        assert (self.patches[found] == patches).all(), "a patch has not been embedded"
        return found

    def missing(self, patches: Patches) -> Patches:
        """Those that are not there, sorted, each once."""
        return np.setdiff1d(patches, self.patches)

    def extended(self, patches: Patches, values: npt.NDArray[np.float32]) -> EmbeddingTable:
        """The table with further patches."""
        both = np.concatenate([self.patches, patches])
        order = np.argsort(both, kind="stable")
        return EmbeddingTable(both[order], np.concatenate([self.values, values])[order])


def read_embeddings(
    out: Path, index_fingerprint: str, encoder: str, dimension: int
) -> tuple[EmbeddingTable, str]:
    """The embeddings that are there, of this index by this encoder.

    Args:
        out: folder of the index.
        index_fingerprint: of the index.
        encoder: fingerprint of the encoder.
        dimension: of its embeddings.

    Returns:
        The table, and why nothing of the file can be used; empty if all of it is, or there is no file.

    Raises:
        StoreError: when the file cannot be read.
    """
    empty = EmbeddingTable(np.zeros(0, PATCH), np.zeros((0, dimension), np.float32))
    path = out / EMBEDDINGS_TABLE
    if not path.is_file():
        return empty, ""
    if not holds_embeddings(out, index_fingerprint):
        return empty, f"{path} is of another index"
    if (footer_of(path) or {}).get(ENCODER) != encoder:
        return empty, f"{path} is of another encoder"
    try:
        table = read_sealed_table(path, EMBEDDINGS)
    except DamagedFile as error:
        return empty, str(error)
    found = _arrays(table, dimension)
    return (empty, f"{path} is not as maxact writes it") if found is None else (found, "")


def _arrays(table: pa.Table, dimension: int) -> EmbeddingTable | None:
    """The columns as arrays; None where one is not what it must be: anyone can seal a table."""
    try:
        table = table.cast(EMBEDDINGS)
    except pa.ArrowException:
        return None
    lengths = pc.list_value_length(table["embedding"])
    flat = pc.list_flatten(table["embedding"])
    columns = [table[name] for name in (*(PATCH.names or ()), "embedding")]
    if any(column.null_count for column in (*columns, flat)):
        return None
    if not pc.all(pc.equal(lengths, dimension), min_count=0).as_py():
        return None
    patches = np.zeros(table.num_rows, PATCH)
    for name in PATCH.names or ():
        patches[name] = table[name].to_numpy()
    values = np.asarray(flat.to_numpy(), np.float32).reshape(-1, dimension)
    sorted_once = np.array_equal(np.unique(patches), patches)
    return EmbeddingTable(patches, values) if sorted_once and np.isfinite(values).all() else None


def write_embeddings(out: Path, table: EmbeddingTable, footer: dict[str, str]) -> None:
    """Write embeddings.parquet.

    Raises:
        StoreError: when it cannot be written.
    """
    count, dimension = table.values.shape

    def batches() -> Any:
        for first in range(0, count, _ROW_GROUP_ROWS):
            rows = slice(first, min(first + _ROW_GROUP_ROWS, count))
            part = table.patches[rows]
            columns: dict[str, Any] = {name: np.ascontiguousarray(part[name]) for name in PATCH.names or ()}
            columns["embedding"] = embedding_column(table.values[rows], dimension)
            yield pa.table(columns).cast(EMBEDDINGS)

    write_table(
        out / EMBEDDINGS_TABLE,
        EMBEDDINGS,
        batches(),
        metadata=footer,
        row_group_rows=_ROW_GROUP_ROWS,
        sealed=True,
    )


def embedding_column(values: npt.NDArray[np.floating], dimension: int) -> pa.Array:
    """(row, dimension) numbers as a column of lists."""
    flat = np.ascontiguousarray(values, np.float32).reshape(-1)
    return pa.FixedSizeListArray.from_arrays(pa.array(flat), dimension).cast(pa.list_(pa.float32()))
