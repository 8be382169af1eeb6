"""The methods of an index that run SQL: statements, named queries, second indexes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pipeline.errors import QueryError, StoreError, UsageError
from pipeline.query.kept_peaks import KeptPeaks, no_peaks
from pipeline.query.named_queries import Value, find_query
from pipeline.query.peak_matrix import keeps_peaks
from pipeline.query.results import QueryResult
from pipeline.query.safe import Limits, refuse_unsafe
from pipeline.query.second_index import SecondIndexes, refuse_schema
from pipeline.query.statements import run_statement
from pipeline.query.unit import Unit
from pipeline.query.unreadable_tables import refuse_unreadable_tables
from pipeline.query.views import open_views
from pipeline.remote.local import local_folder
from pipeline.store.layout import RENDERS_TABLE

if TYPE_CHECKING:
    import duckdb

    from pipeline.images.preprocess import Preprocess
    from pipeline.query.index import Index

__all__ = ["SqlMethods"]

_PEAKS = re.compile(r"\bpeaks?\b", re.IGNORECASE)
"""What SQL has that reads the peaks of all images."""

_RENDERS = re.compile(r"\brenders\b", re.IGNORECASE)
"""What SQL has that reads renderings."""


class SqlMethods:
    """A base of `pipeline.query.index.Index`."""

    out: Path
    run: dict[str, Any]
    preprocess: Preprocess
    _closed: bool
    _connection: duckdb.DuckDBPyConnection
    _limits: Limits | None
    _seconds: float | None
    _second: SecondIndexes
    _units: dict[str, int]
    _unrendered: bool

    @property
    def keeps_peaks(self) -> bool:
        """Whether the index keeps the peaks of all images (`--keep peaks`), not only those of lists."""
        return keeps_peaks(self.run)

    @cached_property
    def peaks(self) -> KeptPeaks:
        """The peaks of all images.

        Raises:
            StoreError: when the index does not keep them.
            DamagedFile: when a file of a part is missing, or is not what it must be.
            UnreadableFile: when one cannot be read, which may pass.
        """
        return KeptPeaks(self.out, self.run, self._units)

    def sql(self, text: str, **params: object) -> QueryResult:
        """Run SQL over the views; `$name` in the text is bound to the keyword of that name.

        Raises:
            QueryError: when DuckDB cannot run it.
            QueryStopped: when it reaches a limit.
        """
        if not isinstance(text, str):
            raise QueryError(f"SQL must be text, got {type(text).__name__}")
        if self._limits is not None:
            refuse_unsafe(self._connection, text)
        return self._fetch(text, params)

    def first_rows(self, text: str, count: int, params: Mapping[str, object]) -> tuple[QueryResult, bool]:
        """As `sql`, but at most so many rows, and whether there are more.

        Args:
            text: SQL.
            count: rows of the result, at least 1.
            params: values by name.

        Raises:
            UsageError: for a count below 1.
            QueryError, QueryStopped: as `sql`.
        """
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise UsageError(f"the number of rows must be at least 1, got {count!r}")
        if not isinstance(text, str) or not isinstance(params, Mapping):
            raise QueryError("SQL must be text, and its parameters a mapping of names to values")
        if self._limits is not None:
            refuse_unsafe(self._connection, text)
        self._see_renderings(text)
        found = self._run(text, params, first_rows=count + 1)
        return replace(found, rows=found.rows[:count]), len(found.rows) > count

    def attach(self, name: str, out: Path | str) -> None:
        """Make another index of the same images readable in SQL: its views are `NAME.top`, `NAME.peaks`.

        Its function `peak` is called `NAME_peak`. Attaching under a name again replaces the index.

        Args:
            name: letters, digits and `_`.
            out: folder of the other index.

        Raises:
            UsageError: for another name.
            QueryError: when this index is confined.
            StoreError: when the other is of another dataset, so that its image numbers are others.
        """
        if self._limits is not None:
            raise QueryError("a second index cannot be attached to a confined one")
        refuse_schema(name)
        if not isinstance(out, str | Path):
            raise UsageError(f"the folder of an index must be a path, got {out!r}")
        if self._closed:
            raise QueryError(f"{self.out} is closed; open it again")
        self._second.attach(name, local_folder(out, "*"))

    def query(self, name: str, **params: object) -> QueryResult:
        """Run a named query, or that of your own file (see `pipeline.query.named_queries`).

        Its `layer`, `unit` and `label` must exist in the index.

        Args:
            name: that `maxact queries` lists, or the path of a file that ends with .sql.
            params: values of the query's parameters.

        Raises:
            QueryError: when there is no such query, or its SQL does not run.
            UsageError: for a missing, unknown or ill-typed parameter, or a unit out of range.
            LayerError: for a layer that is not in the index.
        """
        if not isinstance(name, str):
            raise QueryError(f"the name of a query must be text, got {name!r}")
        query = find_query(name)
        if self._limits is not None and name.endswith(".sql"):
            refuse_unsafe(self._connection, query.sql)
        values = query.values({key: _number(value) for key, value in params.items()})
        self._check(values)
        if _PEAKS.search(query.sql) and not self.keeps_peaks:
            raise StoreError(f"query {name} needs the peaks of all images, but {no_peaks(self.out)}")
        for parameter in query.parameters:
            if parameter.kind == "index":
                self.attach(parameter.name, str(values.pop(parameter.name)))
        return self._fetch(query.sql, values)

    def _check(self, values: Mapping[str, Value]) -> None:
        """Raise where layer, unit or label does not exist, rather than return no rows."""
        layer, unit, label = (values.get(name) for name in ("layer", "unit", "label"))
        index = cast("Index", self)
        if layer is not None:
            index.units(str(layer), () if unit is None else [int(unit)])
        if label is not None:
            index.require_label(str(label))

    @property
    def _renders(self) -> Path:
        return self.out / RENDERS_TABLE

    def _see_renderings(self, text: str) -> None:
        """Open the views again where SQL reads the first renderings, made since the index was opened."""
        if self._unrendered and self._limits is None and _RENDERS.search(text) and self._renders.is_file():
            open_views(self._connection, self.out, self.preprocess, fingerprint=self.run["fingerprint"])
            self._unrendered = False

    def _fetch(self, text: str, params: Mapping[str, object]) -> QueryResult:
        """Run SQL within the limits."""
        self._see_renderings(text)
        most_rows = None if self._limits is None else self._limits.rows
        if _PEAKS.search(text):  # what is wrong with their files is said here, and not by DuckDB
            if self.keeps_peaks:
                _ = self.peaks
            self._second.open_peaks()
        return self._run(text, params, most_rows=most_rows)

    def _run(self, text: str, params: Mapping[str, object], **rows: int | None) -> QueryResult:
        """As `run_statement`; a table that cannot be read is named."""
        try:
            return run_statement(self._connection, text, params, seconds=self._seconds, **rows)
        except QueryError as error:
            refuse_unreadable_tables((self.out, *self._second.folders), error)
            raise


def _number(value: object) -> object:
    """A unit as its number, and any other value as it is."""
    return value.number if isinstance(value, Unit) else value
