"""Read an index: DuckDB views, SQL, named queries, and the bytes of any image.

with open_index(Path("out/demo")) as index:
    for image in index.top("blocks.4.2", 17):
        print(image.rank, image.activation, image.key, image.box)
    print(index.query("label_units", label="zebra").rows)
    print(index.sql("SELECT layer, count(*) FROM units GROUP BY layer").rows)
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import duckdb

from pipeline.errors import UsageError
from pipeline.images.preprocess import Preprocess
from pipeline.query.image_methods import ImageMethods
from pipeline.query.kept_peaks import create_no_peaks, create_peaks
from pipeline.query.layer_methods import LayerMethods, is_texts
from pipeline.query.peak_methods import PeakMethods
from pipeline.query.results import QueryResult, TopImage
from pipeline.query.safe import Limits, open_safe_connection
from pipeline.query.second_index import SecondIndexes
from pipeline.query.sql_methods import SqlMethods
from pipeline.query.unit import Unit
from pipeline.query.views import create_class_names, open_views, opening, read_preprocess
from pipeline.remote.local import local_folder
from pipeline.store.final_tables import refuse_damaged_tables
from pipeline.store.run_file import read_finished_run
from pipeline.store.trust import is_own, refuse_links

__all__ = ["Index", "QueryResult", "TopImage", "Unit", "open_index"]

_LAYERS = """
SELECT layer, units, kind, start_y, start_x, stride_y, stride_x, rf_h, rf_w FROM layers ORDER BY ordinal
"""

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


class Index(LayerMethods, ImageMethods, PeakMethods, SqlMethods):
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
            names = {name: self.class_names(name) or () for name in self._units}
            with opening(out):
                create_class_names(self._connection, names)
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

    def _create_peaks(self) -> None:
        """The view `peaks` and the function `peak`."""
        if self.keeps_peaks:
            create_peaks(self._connection, lambda: self.peaks)
        else:
            create_no_peaks(self._connection, self.out)
