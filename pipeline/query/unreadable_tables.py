"""Which table of an index cannot be read, and what to do about it.

When an index is opened, the size and the last 64 KiB of its tables are compared with what was written, and
of those of an earlier version nothing. Damage elsewhere shows when a query reads it, and DuckDB seldom
says in which file. After such an error all tables are therefore read, and the one is named that cannot be.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

import duckdb

from pipeline.errors import DamagedFile, QueryError
from pipeline.query.literals import literal_path, quote_text
from pipeline.query.statements import one_line, run_statement
from pipeline.store.final_tables import refuse_damaged_tables
from pipeline.store.layout import (
    DISSECTION_TABLE,
    EMBEDDINGS_TABLE,
    NAMES_TABLE,
    RENDERS_TABLE,
    SEMANTICS_TABLE,
    THUMBNAILS_TABLE,
    own_tables,
)
from pipeline.store.run_file import read_finished_run

__all__ = ["refuse_unreadable_tables", "unreadable"]

_REMEDIES = {
    NAMES_TABLE: "`maxact repair {out}` writes names from labels again",
    RENDERS_TABLE: "move it elsewhere and render again; the index is not changed",
    EMBEDDINGS_TABLE: "delete it and write it again with `maxact name`",
    SEMANTICS_TABLE: "delete it and write it again with `maxact name`",
    DISSECTION_TABLE: "delete it and write it again with `maxact dissect`",
    THUMBNAILS_TABLE: "delete it and write it again with `maxact index --keep patches`",
}
"""What to do about tables that are made from an index; the index's own are rebuilt from its parts."""

_OF_VIEW = re.compile(r"Invalid Input Error: (?P<said>(?P<path>.+\.parquet) cannot be read \(.*)", re.DOTALL)
"""What a view says whose table could not be opened."""

_OF_FILES = ("Failed to read file", "parquet", "Parquet")
"""Words in what DuckDB says of a file; invalid input is also said of values in a statement."""


def unreadable(path: Path, reason: str) -> str:
    """What is said of a table of an index that cannot be read: which, why, and what to do.

    Args:
        path: of the table.
        reason: a few words.
    """
    remedy = _REMEDIES.get(path.name, "`maxact repair {out}` rebuilds it from the parts")
    return f"{path} cannot be read ({reason}); {remedy.format(out=path.parent)}"


def refuse_unreadable_tables(folders: Iterable[Path], error: QueryError) -> None:
    """Refuse an index if a table is the reason why a statement failed, rather than the statement.

    Args:
        folders: of the indexes that the statement could read.
        error: that `run_statement` raised. If no table can be the reason, nothing is read.

    Raises:
        DamagedFile: names the table.
    """
    if said := _OF_VIEW.fullmatch(str(error)):
        path = Path(said["path"])
        if any(path.parent in (folder, Path(os.path.realpath(folder))) for folder in folders):
            raise DamagedFile(said["said"]) from error
    if not _is_of_files(error.__cause__):
        return
    for out in folders:
        run = read_finished_run(out)
        refuse_damaged_tables(out, run, whole=True)
        for path in own_tables(out):
            if reason := _read_through(path):
                raise DamagedFile(unreadable(path, reason)) from error


def _is_of_files(error: BaseException | None) -> bool:
    """Whether DuckDB may have failed at a file, rather than at a statement or its values."""
    if isinstance(error, duckdb.InvalidInputException):
        return any(word in str(error) for word in _OF_FILES)
    # What is wrong within a column of a Parquet file has no class of its own.
    return type(error) is duckdb.Error or isinstance(
        error, duckdb.IOException | duckdb.SerializationException | duckdb.InternalException
    )


def _read_through(path: Path) -> str | None:
    """Decode all of a table; returns why that cannot be done, or None."""
    # The hash needs every value; counts and extremes may come from the footer.
    every = f"SELECT max(hash(COLUMNS(*))) FROM read_parquet({quote_text(literal_path(path))})"
    with duckdb.connect() as connection:
        try:
            run_statement(connection, every, {})
        except QueryError as error:
            return one_line(error)
    return None
