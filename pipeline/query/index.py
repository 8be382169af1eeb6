"""Read an index: DuckDB views, SQL, named queries, and the bytes of any image.

with open_index(Path("out/demo")) as index:
    for image in index.top("blocks.4.2", 17):
        print(image.rank, image.activation, image.key, image.box)
    print(index.query("label_units", label="zebra").rows)
    print(index.sql("SELECT layer, count(*) FROM units GROUP BY layer").rows)
"""

from __future__ import annotations

import re
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import duckdb

from pipeline.errors import QueryError, StoreError, UsageError
from pipeline.images.preprocess import Preprocess
from pipeline.query.image_methods import ImageMethods
from pipeline.query.kept_peaks import KeptPeaks, create_no_peaks, create_peaks, no_peaks
from pipeline.query.layer_methods import LayerMethods, is_texts
from pipeline.query.named_queries import Value, find_query
from pipeline.query.peak_matrix import keeps_peaks
from pipeline.query.peak_methods import PeakMethods
from pipeline.query.results import QueryResult, TopImage
from pipeline.query.safe import Limits, open_safe_connection, refuse_unsafe
from pipeline.query.second_index import SecondIndexes, refuse_schema
from pipeline.query.statements import one_line, run_statement
from pipeline.query.unit import Unit
from pipeline.query.views import create_class_names, open_views, read_preprocess
from pipeline.remote.local import local_folder
from pipeline.store.final_tables import refuse_damaged_tables
from pipeline.store.layout import RENDERS_TABLE
from pipeline.store.run_file import read_finished_run
from pipeline.store.trust import is_own, refuse_links

if TYPE_CHECKING:
    pass

__all__ = ["Index", "QueryResult", "TopImage", "Unit", "open_index"]

_LAYERS = """
SELECT layer, units, kind, start_y, start_x, stride_y, stride_x, rf_h, rf_w FROM layers ORDER BY ordinal
"""

_PEAKS = re.compile(r"\bpeaks?\b", re.IGNORECASE)
"""What SQL has that reads the peaks of all images."""

_RENDERS = re.compile(r"\brenders\b", re.IGNORECASE)
"""What SQL has that reads renderings."""

MAX_SECONDS = 1_000_000
"""The longest time limit of a query."""


def open_index(
    out: Path | str,
    *,
    trust: bool = False,
    data: Path | str | Sequence[Path | str] = (),
    limits: Limits | None = None,
    timeout: float | None = None,
) -> Index:
    """Open a finished index; use it as a context manager, or close it.

    Args:
        out: folder of the index, or its address, such as `s3://bucket/run`, whose files are fetched into the
            cache.
        trust: load what the index names although another user made it: its network's code, its
            weights and directions, its dataset; and follow links out of its folder.
        data: where the indexed dataset is, if it has moved or the index is not trusted; see
            `pipeline.data.moved.open_moved`.
        limits: confine SQL to SELECTs that read OUT only, see `pipeline.query.safe`; None leaves
            DuckDB as it is, which may read and write any file.
        timeout: seconds after which a query is ended, instead of those of the limits.

    Raises:
        StoreError: when OUT holds no finished index, or a table cannot be read.
        DamagedFile: when a table is missing, or its size or end is not what was written.
        UntrustedIndex: when a link leads out of OUT.
        UsageError: when `timeout` is not above 0.
    """
    if not isinstance(out, str | Path):
        raise UsageError(f"the folder of an index must be a path, got {out!r}")
    return Index(local_folder(out, "*"), trust=trust, data=data, limits=limits, timeout=timeout)


class Index(LayerMethods, ImageMethods, PeakMethods):
    """An open index; see `open_index`."""

    def __init__(
        self,
        out: Path,
        *,
        trust: bool = False,
        data: Path | str | Sequence[Path | str] = (),
        limits: Limits | None = None,
        timeout: float | None = None,
    ) -> None:
        if timeout is not None and not (isinstance(timeout, int | float) and 0 < timeout <= MAX_SECONDS):
            raise UsageError(
                f"the time limit must be above 0 and at most {MAX_SECONDS:,} seconds, got {timeout!r}"
            )
        if limits is not None and not isinstance(limits, Limits):
            raise UsageError(f"limits must be a pipeline.query.safe.Limits, got {limits!r}")
        if not is_texts(data):
            raise UsageError(f"the data must be paths or URLs, got {data!r}")
        self.out = out
        self._closed = False
        self.data = (str(data),) if isinstance(data, str | Path) else tuple(map(str, data))
        self.run: dict[str, Any] = read_finished_run(out)
        self.trusted = trust or is_own(self.run)
        if not trust:
            refuse_links(out)
        refuse_damaged_tables(out, self.run)
        self.preprocess: Preprocess = read_preprocess(self.run, out)
        self._limits = limits
        self._seconds = limits.seconds if limits is not None and timeout is None else timeout
        self._connection = open_safe_connection(out, limits, trust=trust) if limits else duckdb.connect()
        self._second = SecondIndexes(self._connection, out, lambda text: self._fetch(text, {}))
        self._unrendered = not self._renders.is_file()
        try:
            if limits is None:
                open_views(self._connection, out, self.preprocess, fingerprint=self.run["fingerprint"])
            rows = {row.pop("layer"): row for row in self._fetch(_LAYERS, {}).dicts()}
            self._units: dict[str, int] = {name: row["units"] for name, row in rows.items()}
            self._vectors = {name for name, row in rows.items() if row["kind"] == "vector"}
            self.geometry: Mapping[str, Mapping[str, int]] = rows
            create_class_names(self._connection, {name: self.class_names(name) or () for name in self._units})
            self._create_peaks()
            weakref.finalize(self, self._connection.close)  # DuckDB complains of functions that are left over
            if data:
                _ = self.dataset  # a place that the caller gives must be right before any work
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        """The index itself."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """Close the database and the tables."""
        self._closed = True
        self._connection.close()
        for rows in ("image_rows", "list_rows"):
            if rows in self.__dict__:
                getattr(self, rows).close()

    @property
    def _renders(self) -> Path:
        return self.out / RENDERS_TABLE

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
        found = run_statement(self._connection, text, params, seconds=self._seconds, first_rows=count + 1)
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
        if layer is not None:
            self.units(str(layer), () if unit is None else [int(unit)])
        if label is not None:
            self.require_label(str(label))

    def _create_peaks(self) -> None:
        """The view `peaks` and the function `peak`."""
        if not self.keeps_peaks:
            try:
                create_no_peaks(self._connection, self.out)
            except duckdb.Error as error:
                raise StoreError(f"{self.out}: its tables cannot be opened: {one_line(error)}") from error
            return
        create_peaks(self._connection, lambda: self.peaks)

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
        return run_statement(self._connection, text, params, seconds=self._seconds, most_rows=most_rows)


def _number(value: object) -> object:
    """A unit as its number, and any other value as it is."""
    return value.number if isinstance(value, Unit) else value
