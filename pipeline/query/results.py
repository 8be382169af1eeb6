"""What an index answers with: rows of a SELECT, and the top images of a unit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from pipeline.errors import QueryError
from pipeline.images.preprocess import Box
from pipeline.visible import visible

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["QueryResult", "TopImage"]

SHOWN_ROWS = 100
"""Rows that a notebook shows of a result."""


@dataclass(frozen=True, slots=True)
class QueryResult:
    """The result of a SELECT.

    Args:
        columns: their names.
        rows: one tuple per row, as long as `columns`.
        types: DuckDB's type of each column, such as `VARCHAR`.
    """

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]
    types: tuple[str, ...]

    def dicts(self) -> list[dict[str, Any]]:
        """One dict per row."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]

    def arrow(self) -> pa.Table:
        """A pyarrow.Table with DuckDB's types, also where there are no rows."""
        import pyarrow as pa

        values = list(zip(*self.rows, strict=True)) or [()] * len(self.columns)
        arrays = [_array(*each) for each in zip(values, self.types, _arrow_types(self.types), strict=True)]
        return pa.Table.from_arrays(arrays, names=list(self.columns))

    def pl(self) -> Any:
        """A polars.DataFrame of the Arrow table.

        Raises:
            QueryError: when polars is not installed.
        """
        try:
            import polars
        except ModuleNotFoundError as error:
            raise QueryError(
                "pl() needs polars, which is not installed; run `pip install polars`, "
                "or use arrow(), dicts() or rows"
            ) from error
        return polars.from_arrow(self.arrow())

    def relation(self) -> Any:
        """A relation of DuckDB's default connection, to go on in SQL or with its methods."""
        import duckdb

        return duckdb.from_arrow(self.arrow())

    def _repr_html_(self) -> str:
        """A table of the first rows, as notebooks show it."""
        head = "".join(f"<th>{escape(visible(name))}</th>" for name in self.columns)
        shown = [[escape(visible(_cell(value))) for value in row] for row in self.rows[:SHOWN_ROWS]]
        body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in shown)
        more = len(self.rows) - len(shown)
        note = f"<p>{more:,} more rows</p>" if more else ""
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{note}"

    def df(self) -> Any:
        """A pandas.DataFrame of the Arrow table.

        Raises:
            QueryError: when pandas is not installed.
        """
        try:
            import pandas  # noqa: F401
        except ModuleNotFoundError as error:
            raise QueryError(
                "df() needs pandas, which is not installed; run `pip install pandas`, "
                "or use arrow(), dicts() or rows"
            ) from error
        return self.arrow().to_pandas()


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def _arrow_types(types: Sequence[str]) -> list[pa.DataType]:
    """Arrow's types for DuckDB's, as DuckDB itself converts them."""
    import duckdb

    if not types:
        return []
    columns = ", ".join(f"NULL::{kind} AS c{number}" for number, kind in enumerate(types))
    with duckdb.connect() as connection:
        schema = connection.sql(f"SELECT {columns} LIMIT 0").to_arrow_table().schema
    return [field.type for field in schema]


def _array(values: Sequence[Any], duck_type: str, arrow_type: pa.DataType) -> pa.Array:
    import pyarrow as pa

    if duck_type == "HUGEINT" and all(value is None or abs(value) < 1 << 63 for value in values):
        arrow_type = pa.int64()  # a sum of integers, which DuckDB makes a 38-digit decimal
    try:
        return pa.array(values, arrow_type)
    except pa.ArrowTypeError:  # a UUID, which Arrow has as text
        return pa.array([None if value is None else str(value) for value in values])


@dataclass(frozen=True, slots=True)
class TopImage:
    """One of the images that activate a unit most (or least, on the low side).

    Args:
        layer, unit, rank, activation: the entry of the unit's list; ranks start at 1.
        image_id: the image's number in `images`.
        y, x: grid position of the peak; -1 for an image that is not on the unit's list.
        key, label, width, height, origin: the image's row of `images`; sizes in pixels.
        box: the patch that the position sees, in pixels of the original photograph; where the position
            is not known, all that the network's input shows.
        duplicate_of: image_id of the first image of the same photograph, None for the first.
    """

    layer: str
    unit: int
    rank: int
    activation: float
    image_id: int
    y: int
    x: int
    key: str
    label: str | None
    width: int
    height: int
    box: Box
    origin: str | None = None
    duplicate_of: int | None = None

    @property
    def row(self) -> tuple[Any, ...]:
        """The image as a row of the query `top_images`; a position that is not known is None."""
        box = (self.box.left, self.box.top, self.box.right, self.box.bottom)
        place = (self.y, self.x) if self.y >= 0 else (None, None)
        named = (self.rank, self.activation, self.key, self.label, self.image_id)
        return (*named, *place, *box, self.width, self.height)

    @property
    def photograph(self) -> int:
        """The same number for all copies of one photograph."""
        return self.image_id if self.duplicate_of is None else self.duplicate_of
