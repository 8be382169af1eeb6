"""DuckDB views over the tables of one index.

Every table of OUT is a view of the same name; a table that is not there is an empty view with the
right columns, so that no query has to ask. `patches` adds to each row of `top` where its patch
lies in the original photograph.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from pipeline.errors import MaxactError, StoreError
from pipeline.images.preprocess import Preprocess
from pipeline.store.schemas import SCHEMAS

__all__ = ["RENDERS_COLUMNS", "create_views", "read_preprocess"]

RENDERS_COLUMNS: Mapping[str, str] = {
    "layer": "VARCHAR",
    "unit": "INTEGER",
    "recipe": "VARCHAR",
    "objective": "VARCHAR",
    "facet": "INTEGER",
    "seed": "BIGINT",
    "activation": "FLOAT",
    "peak": "FLOAT",
    "best_real": "FLOAT",
    "p999": "FLOAT",
    "ratio": "FLOAT",
    "steps": "INTEGER",
    "status": "VARCHAR",
    "file": "VARCHAR",
}
"""What the queries may ask of `renders` before anything is rendered: name to DuckDB type."""

_DUCK_TYPES = {
    "int32": "INTEGER",
    "int64": "BIGINT",
    "float": "FLOAT",
    "double": "DOUBLE",
    "string": "VARCHAR",
}

_PATCHES = """
CREATE OR REPLACE VIEW {schema}.patches AS
WITH resized AS (
    SELECT
        images.*,
        CASE WHEN preprocess.fit = 'squash' THEN preprocess.width
             WHEN images.width <= images.height THEN preprocess.resize
             ELSE greatest(preprocess.resize, preprocess.resize * images.width // images.height)
        END AS resized_width,
        CASE WHEN preprocess.fit = 'squash' THEN preprocess.height
             WHEN images.width > images.height THEN preprocess.resize
             ELSE greatest(preprocess.resize, preprocess.resize * images.height // images.width)
        END AS resized_height,
        preprocess.width AS input_width,
        preprocess.height AS input_height
    FROM {schema}.images CROSS JOIN {schema}.preprocess
), placed AS (
    SELECT
        *,
        round_even((resized_width - input_width) / 2, 0) AS crop_left,
        round_even((resized_height - input_height) / 2, 0) AS crop_top,
        width / resized_width AS scale_x,
        height / resized_height AS scale_y
    FROM resized
), seen AS (
    SELECT
        top.*,
        layers.ordinal,
        layers.start_x + top.x * layers.stride_x AS seen_left,
        layers.start_y + top.y * layers.stride_y AS seen_top,
        layers.start_x + top.x * layers.stride_x + layers.rf_w AS seen_right,
        layers.start_y + top.y * layers.stride_y + layers.rf_h AS seen_bottom
    FROM {schema}.top JOIN {schema}.layers USING (layer)
)
SELECT
    seen.ordinal, seen.layer, seen.unit, seen.side, seen.rank, seen.activation,
    seen.image_id, seen.y, seen.x,
    placed.key, placed.label, placed.origin, placed.duplicate_of, placed.width, placed.height,
    (greatest(seen.seen_left, 0) + placed.crop_left) * placed.scale_x AS box_left,
    (greatest(seen.seen_top, 0) + placed.crop_top) * placed.scale_y AS box_top,
    (least(seen.seen_right, placed.input_width) + placed.crop_left) * placed.scale_x AS box_right,
    (least(seen.seen_bottom, placed.input_height) + placed.crop_top) * placed.scale_y AS box_bottom
FROM seen JOIN placed USING (image_id)
"""
"""`Preprocess.to_original` in SQL; a test holds the two together."""


def read_preprocess(run: Mapping[str, Any], out: Path) -> Preprocess:
    """The preprocessing that the run's images went through.

    Raises:
        StoreError: when run.json does not say it in full.
    """
    try:
        fields = dict(run["preprocess"])
        fields |= {name: tuple(fields[name]) for name in ("mean", "std")}
        return Preprocess(**fields)
    except (KeyError, TypeError, MaxactError) as error:
        raise StoreError(f"{out / 'run.json'}: its `preprocess` cannot be used: {error}") from error


def create_views(
    connection: duckdb.DuckDBPyConnection,
    out: Path,
    preprocess: Preprocess,
    *,
    schema: str = "main",
) -> None:
    """Make the views of one index in a schema of the connection.

    Args:
        connection: an in-memory database.
        out: the index's folder.
        preprocess: of the run; gives the one-row view `preprocess`.
        schema: created where it does not exist; `main` needs no prefix in queries.

    Raises:
        StoreError: when a table cannot be read.
    """
    name = _quote_name(schema)
    connection.execute(f"CREATE SCHEMA IF NOT EXISTS {name}")
    for table in (*SCHEMAS, "renders"):
        body = _table_body(connection, out / f"{table}.parquet", table)
        connection.execute(f"CREATE OR REPLACE VIEW {name}.{table} AS {body}")
    connection.execute(
        f"CREATE OR REPLACE VIEW {name}.preprocess AS SELECT {preprocess.height} AS height, "
        f"{preprocess.width} AS width, {preprocess.resize} AS resize, '{preprocess.fit}' AS fit"
    )
    connection.execute(_PATCHES.format(schema=name))


def _table_body(connection: duckdb.DuckDBPyConnection, path: Path, table: str) -> str:
    """The SELECT behind one view: the Parquet file, or no rows of its columns."""
    if not path.is_file():
        columns = RENDERS_COLUMNS if table == "renders" else _duck_columns(SCHEMAS[table])
        empty = ", ".join(f"NULL::{kind} AS {_quote_name(name)}" for name, kind in columns.items())
        return f"SELECT {empty} WHERE false"
    source = f"read_parquet({_quote_text(_literal_path(path))})"
    try:
        connection.execute(f"SELECT * FROM {source} LIMIT 0")
    except duckdb.Error as error:
        reason = str(error).splitlines()[0]
        cure = "index again into a new OUT"
        if table == "renders":
            cure = "delete it and render again; the index is not touched"
        raise StoreError(f"{path} cannot be read ({reason}); {cure}") from error
    return f"SELECT * FROM {source}"


def _duck_columns(schema: pa.Schema) -> dict[str, str]:
    kinds = {
        field.name: field.type.value_type if pa.types.is_dictionary(field.type) else field.type
        for field in schema
    }
    return {name: _DUCK_TYPES[str(kind)] for name, kind in kinds.items()}


def _literal_path(path: Path) -> str:
    """The path with DuckDB's wildcards taken literally."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in str(path))


def _quote_name(name: str) -> str:
    escaped = name.replace('"', '""')
    return f'"{escaped}"'


def _quote_text(text: str) -> str:
    escaped = text.replace("'", "''")
    return f"'{escaped}'"
