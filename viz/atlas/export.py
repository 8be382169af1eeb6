"""A table of the units of an atlas, as the program `embedding-atlas` (PyPI, Apple) opens it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import StoreError, UsageError
from pipeline.query.index import Index
from pipeline.query.matching import read_lists
from pipeline.store.files import atomic_path
from viz.atlas import addresses
from viz.atlas.archive import refuse_target
from viz.atlas.content import LayerContent, UnitContent
from viz.atlas.data import STATISTICS, describe
from viz.atlas.neighbours import nearest_units
from viz.atlas.places import place_units

__all__ = ["SCHEMA", "TABLE_ENDING", "check_format", "export_units"]

FORMAT = "embedding-atlas"

NEIGHBOURS = 12
"""Neighbours of each unit; `embedding-atlas` expects equally many for all."""

TABLE_ENDING = ".parquet"

SCHEMA = pa.schema(
    [
        pa.field("layer", pa.string()),
        pa.field("unit", pa.int32()),
        pa.field("text", pa.string()),
        pa.field("x", pa.float32()),
        pa.field("y", pa.float32()),
        pa.field(
            "neighbors",
            pa.struct({"ids": pa.list_(pa.int64()), "distances": pa.list_(pa.float32())}),
        ),
        pa.field("sprite", pa.struct({"bytes": pa.binary(), "path": pa.string()})),
        pa.field("page", pa.string()),
        pa.field("dead", pa.bool_()),
        pa.field("ratio", pa.float32()),
        *(pa.field(name, pa.float32()) for name in STATISTICS),
    ]
)
"""`neighbors` has rows of the table, counted from 0, the nearest first; `sprite` is a card (WebP)."""


def check_format(name: str) -> None:
    """Refuse the name of another format.

    Raises:
        UsageError: says which there is.
    """
    if name != FORMAT:
        raise UsageError(f"--export takes a format and a file; the format is {FORMAT}, got {name!r}")


def export_units(index: Index, folder: Path, contents: Sequence[LayerContent], target: Path) -> int:
    """Write the table.

    Args:
        index: open.
        folder: of its finished atlas.
        contents: of the layers in it.
        target: the Parquet file; replaced if it exists.

    Returns:
        The number of units.

    Raises:
        StoreError: when a file cannot be read or written.
        UsageError: when the target has another ending, is a folder or lies in the atlas.
    """
    refuse_target(index.out, target, TABLE_ENDING)
    units = [(content, unit) for content in contents for unit in content.units]
    found = read_lists(index)
    lists = [found.get((unit.layer, unit.unit), np.empty(0, np.int64)) for _, unit in units]
    places = place_units(lists)
    near, distances = nearest_units(lists, places, min(NEIGHBOURS, max(0, len(units) - 1)))
    rows = [
        _row(folder, content, unit)
        | {
            "x": float(places[number, 0]),
            "y": float(places[number, 1]),
            "neighbors": {"ids": near[number].tolist(), "distances": distances[number].tolist()},
        }
        for number, (content, unit) in enumerate(units)
    ]
    with atomic_path(target) as temporary:
        pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), temporary, compression="zstd")
    return len(rows)


def _row(folder: Path, content: LayerContent, unit: UnitContent) -> dict[str, Any]:
    ordinal = content.layer.ordinal
    card = addresses.card_file(ordinal, unit.unit)
    try:
        data = (folder / card).read_bytes()
    except OSError as error:
        raise StoreError(
            f"{folder / card} cannot be read: {error.strerror or error}; build the atlas again"
        ) from error
    return {
        "text": f"{unit.layer} {unit.unit}: {describe(unit)['words']}".rstrip(": "),
        "layer": unit.layer,
        "sprite": {"bytes": data, "path": card},
        "page": addresses.unit_page(ordinal, unit.unit),
        **{name: value for name, value in describe(unit).items() if name in SCHEMA.names},
    }
