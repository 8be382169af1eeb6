"""Second indexes in the connection of an index, each with its views in a schema of its own.

SELECT a.image_id, a.peak, b.peak FROM peaks a JOIN other.peaks b USING (layer, unit, image_id)
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import duckdb

from pipeline.errors import UsageError
from pipeline.query.kept_peaks import KeptPeaks, create_no_peaks, create_peaks
from pipeline.query.peak_matrix import keeps_peaks
from pipeline.query.results import QueryResult
from pipeline.query.same_images import IMAGES_DIGEST, refuse_other_images
from pipeline.query.views import open_views, opening, read_preprocess
from pipeline.store.final_tables import refuse_damaged_tables
from pipeline.store.run_file import read_finished_run
from pipeline.store.trust import refuse_links

__all__ = ["SecondIndexes", "refuse_schema"]

_TAKEN = ("main", "temp", "pg_catalog", "information_schema", "system", "memory")


def refuse_schema(name: str) -> None:
    """Refuse what cannot be the name of a second index in SQL.

    Raises:
        UsageError: says what it must be.
    """
    fits = isinstance(name, str) and re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name)
    if not fits or name.lower() in _TAKEN:
        raise UsageError(
            f"a second index is called by letters, digits and _, and not {', '.join(_TAKEN)}; got {name!r}"
        )


class SecondIndexes:
    """The second indexes of one connection.

    Args:
        connection: of the first index, with its views.
        out: folder of the first index.
        fetch: runs SQL on the connection.
    """

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, out: Path, fetch: Callable[[str], QueryResult]
    ) -> None:
        self._connection, self._out, self._fetch = connection, out, fetch
        self._peaks: dict[str, Callable[[], KeptPeaks]] = {}
        self._outs: dict[str, Path] = {}

    @property
    def folders(self) -> tuple[Path, ...]:
        """The folders of the second indexes."""
        return tuple(self._outs.values())

    def attach(self, schema: str, out: Path) -> None:
        """Create the views of an index, in place of those of an earlier one of that name.

        Args:
            schema: its name in SQL.
            out: its folder.

        Raises:
            StoreError: when it is of another dataset, so that its image numbers are others.
        """
        run = read_finished_run(out)
        refuse_links(out)
        refuse_damaged_tables(out, run)
        open_views(
            self._connection, out, read_preprocess(run, out), fingerprint=run["fingerprint"], schema=schema
        )
        self._outs[schema] = out
        ours, theirs = (
            self._fetch(IMAGES_DIGEST.format(schema=name)).dicts()[0] for name in ("main", schema)
        )
        refuse_other_images(self._out, ours, out, theirs)
        self._attach_peaks(schema, out, run)

    def open_peaks(self) -> None:
        """Open the kept peaks of all, as a query is about to read them.

        Raises:
            DamagedFile: when a file of a part is missing, or is not what it must be.
            UnreadableFile: when one cannot be read, which may pass.
        """
        for kept in self._peaks.values():
            kept()

    def _attach_peaks(self, schema: str, out: Path, run: Mapping[str, Any]) -> None:
        if self._peaks.pop(schema, None):
            self._connection.remove_function(f"{schema}_peak")
        if not keeps_peaks(run):
            with opening(out):
                create_no_peaks(self._connection, out, schema=schema)
            return
        rows = self._fetch(f'SELECT layer, units FROM "{schema}".layers ORDER BY ordinal').rows
        self._peaks[schema] = kept = cache(lambda: KeptPeaks(out, run, dict(rows)))
        with opening(out):
            create_peaks(self._connection, kept, schema=schema)
