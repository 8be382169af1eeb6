"""A table of the units of an atlas, as the program `embedding-atlas` (PyPI, Apple) opens it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import StoreError, UsageError
from pipeline.store.files import atomic_path
from viz.atlas import addresses
from viz.atlas.archive import refuse_target
from viz.atlas.content import LayerContent, UnitContent
from viz.atlas.data import STATISTICS, describe
from viz.atlas.places import place_units

__all__ = ["SCHEMA", "TABLE_ENDING", "check_format", "export_units"]

FORMAT = "embedding-atlas"

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


def export_units(out: Path, folder: Path, contents: Sequence[LayerContent], target: Path) -> int:
    """Write the table.

    Args:
        out: folder of the index.
        folder: of its finished atlas.
        contents: of the layers in it.
        target: the Parquet file; replaced if it exists.

    Returns:
        The number of units.

    Raises:
        StoreError: when a file cannot be read or written.
        UsageError: when the target has another ending, is a folder or lies in the atlas.
    """
    refuse_target(out, target, TABLE_ENDING)
    units = [(content, unit) for content in contents for unit in content.units]
    numbers = {(unit.layer, unit.unit): number for number, (_, unit) in enumerate(units)}
    places = place_units([[patch.image_id for patch in unit.high] for _, unit in units])
    rows = [
        _row(folder, content, unit, numbers) | {"x": float(x), "y": float(y)}
        for (content, unit), (x, y) in zip(units, places, strict=True)
    ]
    with atomic_path(target) as temporary:
        pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), temporary, compression="zstd")
    return len(rows)


def _row(
    folder: Path, content: LayerContent, unit: UnitContent, numbers: dict[tuple[str, int], int]
) -> dict[str, Any]:
    ordinal = content.layer.ordinal
    near = [other for other in unit.neighbours if (unit.layer, other.unit) in numbers]
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
        "neighbors": {
            "ids": [numbers[unit.layer, other.unit] for other in near],
            "distances": [1 - other.jaccard for other in near],
        },
        "sprite": {"bytes": data, "path": card},
        "page": addresses.unit_page(ordinal, unit.unit),
        **{name: value for name, value in describe(unit).items() if name in SCHEMA.names},
    }
