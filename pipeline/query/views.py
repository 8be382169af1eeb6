"""DuckDB views over the tables of one index.

Every table of OUT is a view of the same name; a missing table, such as `renders` before anything is
rendered, is an empty view with the same columns and types, so that queries need not check. The view
`patches` adds to each row of `top` the box of its patch in the original photograph; `class_names` has
the names of the classifier's units.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from pipeline.errors import MaxactError, StoreError
from pipeline.images.preprocess import Preprocess
from pipeline.query.literals import literal_path, quote_name, quote_text
from pipeline.query.statements import one_line
from pipeline.query.unreadable_tables import unreadable
from pipeline.store.layout import (
    footer_of,
    holds_dissection,
    holds_embeddings,
    holds_names,
    holds_semantics,
    holds_thumbnails,
)
from pipeline.store.schemas import (
    DEFAULTS,
    DISSECTION,
    EMBEDDINGS,
    NAMES,
    PATH_VERSION,
    RENDERS,
    SCHEMAS,
    SEMANTICS,
    THUMBNAILS,
)

__all__ = ["create_class_names", "create_views", "open_views", "opening", "read_preprocess"]

_DUCK_TYPES = {
    "bool": "BOOLEAN",
    "int32": "INTEGER",
    "int64": "BIGINT",
    "float": "FLOAT",
    "double": "DOUBLE",
    "string": "VARCHAR",
    "binary": "BLOB",
}

_MARKED: Mapping[str, tuple[pa.Schema, Callable[[Path, str], bool]]] = {
    "names": (NAMES, holds_names),
    "thumbnails": (THUMBNAILS, holds_thumbnails),
    "embeddings": (EMBEDDINGS, holds_embeddings),
    "semantics": (SEMANTICS, holds_semantics),
    "dissection": (DISSECTION, holds_dissection),
}
"""Tables that carry the fingerprint of their index; those of another are not shown."""

_OF_PATHS = ("path", "no_path", "path_version")
"""Columns of `renders` that are null where another version of the measure wrote them."""

_LATER_RENDERS = "index_fingerprint"
"""The first column of `renders` that earlier versions did not write; some after it came later still."""

_PATCHES = """
CREATE OR REPLACE VIEW {schema}.patches AS
WITH placed AS (
    SELECT *, {left} AS crop_left, {top} AS crop_top, {scale_x} AS scale_x, {scale_y} AS scale_y,
        {reach_x} AS reach_x, {reach_y} AS reach_y
    FROM {schema}.images
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
    greatest(0, (greatest(seen.seen_left, 0) + placed.crop_left) * placed.scale_x - placed.reach_x)
        AS box_left,
    greatest(0, (greatest(seen.seen_top, 0) + placed.crop_top) * placed.scale_y - placed.reach_y)
        AS box_top,
    least(placed.width, (least(seen.seen_right, {width}) + placed.crop_left) * placed.scale_x
        + placed.reach_x) AS box_right,
    least(placed.height, (least(seen.seen_bottom, {height}) + placed.crop_top) * placed.scale_y
        + placed.reach_y) AS box_bottom
FROM seen JOIN placed USING (image_id)
"""
"""`Layer.box` and `Preprocess.seen_in_original` in SQL; a test compares them."""


def read_preprocess(run: Mapping[str, Any], out: Path) -> Preprocess:
    """The preprocessing of a run's images.

    Raises:
        StoreError: when run.json does not have all of it.
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
    fingerprint: str = "",
    schema: str = "main",
) -> None:
    """Create the views of one index in a schema of the connection.

    Args:
        connection: an in-memory database.
        out: folder of the index.
        preprocess: of the run; becomes the view `preprocess`, which has one row.
        fingerprint: of the run; `renders` has only renderings that were made from this index.
        schema: created if it does not exist; `main` needs no prefix in queries.

    Raises:
        StoreError: when a table cannot be read.
    """
    name = quote_name(schema)
    connection.execute(f"CREATE SCHEMA IF NOT EXISTS {name}")
    derived = {"renders": RENDERS, **{name: columns for name, (columns, _) in _MARKED.items()}}
    for table, columns in {**SCHEMAS, **derived}.items():
        path = out / f"{table}.parquet"
        if table in _MARKED and path.is_file() and footer_of(path) is None:
            # The other tables can be used: only a query that reads this one ends.
            body = _only_error(columns, unreadable(path, "it is damaged"))
        else:
            if table in _MARKED and not _MARKED[table][1](out, fingerprint):
                path = out / "none"  # those of another index are not shown
            body = _table_body(connection, path, columns, DEFAULTS.get(table, {}))
        if columns is RENDERS:
            body += f" WHERE index_fingerprint = {quote_text(fingerprint)}"
        connection.execute(f"CREATE OR REPLACE VIEW {name}.{table} AS {body}")
    connection.execute(
        f"CREATE OR REPLACE VIEW {name}.preprocess AS SELECT {preprocess.height} AS height, "
        f"{preprocess.width} AS width, {preprocess.resize} AS resize, '{preprocess.fit}' AS fit"
    )
    sql = preprocess.placement_sql()
    connection.execute(_PATCHES.format(schema=name, width=preprocess.width, height=preprocess.height, **sql))


def open_views(
    connection: duckdb.DuckDBPyConnection,
    out: Path,
    preprocess: Preprocess,
    *,
    fingerprint: str,
    schema: str = "main",
) -> None:
    """As `create_views`, with what DuckDB says of a table as a `StoreError` of one line."""
    with opening(out):
        create_views(connection, out, preprocess, fingerprint=fingerprint, schema=schema)


@contextmanager
def opening(out: Path) -> Iterator[None]:
    """What DuckDB says of a table while views are created, as a `StoreError` of one line.

    Args:
        out: folder of the index.
    """
    try:
        yield
    except duckdb.Error as error:
        raise StoreError(
            f"{out}: its tables cannot be opened: {one_line(error)}; "
            f"`maxact repair {out}` rebuilds them from the parts"
        ) from error


def _table_body(
    connection: duckdb.DuckDBPyConnection, path: Path, columns: pa.Schema, defaults: Mapping[str, str]
) -> str:
    """The SELECT of one view: from the Parquet file, or no rows of the same columns."""
    if not path.is_file():
        return _no_rows(columns)
    source = f"read_parquet({quote_text(literal_path(path))})"
    try:
        found = connection.execute(f"SELECT * FROM {source} LIMIT 0").description or ()
    except duckdb.Error as error:
        raise StoreError(unreadable(path, str(error).splitlines()[0])) from error
    present = {column[0] for column in found}
    missing = [field for field in columns if field.name not in present]
    # Tables of earlier versions lack columns that have a default, or some of the last ones of renderings.
    later = columns.names[columns.get_field_index(_LATER_RENDERS) :] if columns is RENDERS else defaults
    absent = [field.name for field in missing if field.name not in later]
    if absent:
        raise StoreError(unreadable(path, f"it has no column {absent[0]}"))
    if columns is RENDERS:
        nulls = "".join(f", NULL::{_duck_type(field.type)} AS {quote_name(field.name)}" for field in missing)
        # Paths that an earlier version measured are no numbers of the present one's.
        current = ", ".join(
            f"CASE WHEN path_version = {PATH_VERSION} THEN {name} END AS {name}" for name in _OF_PATHS
        )
        return f"SELECT * REPLACE ({current}) FROM (SELECT *{nulls} FROM {source})"
    filled = [f"{defaults[field.name]} AS {quote_name(field.name)}" for field in missing]
    return f"SELECT {', '.join(['*', *filled])} FROM {source}"


def _no_rows(columns: pa.Schema) -> str:
    """The SELECT of a view without a file."""
    nulls = ", ".join(f"NULL::{_duck_type(field.type)} AS {quote_name(field.name)}" for field in columns)
    return f"SELECT * FROM (SELECT {nulls} WHERE false)"


def _only_error(columns: pa.Schema, message: str) -> str:
    """The SELECT of a view that ends every query that reads it, whichever columns it reads."""
    error = f"error({quote_text(message)})"
    each = ", ".join(f"{error}::{_duck_type(field.type)} AS {quote_name(field.name)}" for field in columns)
    return f"SELECT {each} WHERE {error}"


def create_class_names(
    connection: duckdb.DuckDBPyConnection, class_names: Mapping[str, Sequence[str]]
) -> None:
    """Create the view `class_names`: layer, unit, name.

    Args:
        connection: as in `create_views`.
        class_names: of the units of layers; no rows for a layer without names.
    """
    parts = [
        f"SELECT {quote_text(layer)} AS layer, unnest(range({len(names)}))::INTEGER AS unit, "
        f"unnest([{', '.join(map(quote_text, names))}]) AS name"
        for layer, names in class_names.items()
        if names
    ]
    empty = "SELECT NULL::VARCHAR AS layer, NULL::INTEGER AS unit, NULL::VARCHAR AS name WHERE false"
    connection.execute(f"CREATE OR REPLACE VIEW class_names AS {' UNION ALL '.join(parts) or empty}")


def _duck_type(kind: pa.DataType) -> str:
    """The type that DuckDB gives a Parquet column of an Arrow type."""
    if pa.types.is_dictionary(kind):
        return _duck_type(kind.value_type)
    if pa.types.is_list(kind):
        return f"{_duck_type(kind.value_type)}[]"
    return _DUCK_TYPES[str(kind)]
