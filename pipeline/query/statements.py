"""Run one SQL statement so that Ctrl-C or a time limit can end it, and errors have one line.

DuckDB does not return to Python before a statement is finished, and a signal waits as long. The
statement therefore runs in a thread of its own; the caller waits, and interrupts DuckDB when a signal
or the limit comes.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import duckdb

from pipeline.errors import MaxactError, QueryError, QueryStopped
from pipeline.query.results import QueryResult

__all__ = ["one_line", "run_statement"]

CHUNK_ROWS = 1 << 14
"""Rows that are converted to Python at once; between two chunks a statement can be ended."""

WAKE_SECONDS = 0.1
"""A signal that reaches another thread is noticed by the waiting one when it wakes."""

PATIENCE = 0.05
"""Seconds between two interrupts, as one that comes before DuckDB has started is lost."""

INTERRUPTS = 200
"""Interrupts after which a statement that does not react is left behind, in seconds: 10."""

_REFUSED = (duckdb.Error, TypeError, ValueError, OverflowError, RuntimeError, AttributeError)
"""What DuckDB raises for statements, values and connections that it cannot use."""


@dataclass(slots=True)
class _Work:
    """A statement, and what comes of it."""

    connection: duckdb.DuckDBPyConnection
    text: str
    params: Mapping[str, object]
    most_rows: int | None
    first_rows: int | None = None
    cursor: duckdb.DuckDBPyConnection | None = None
    result: QueryResult | None = None
    error: BaseException | None = None
    ended: threading.Event = field(default_factory=threading.Event)
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Execute and fetch; keeps what is raised for the caller's thread."""
        try:
            # A second execute on the same cursor would end an earlier result.
            with self.connection.cursor() as self.cursor:
                self.result = self._fetch(self.cursor)
        except BaseException as error:
            self.error = error
        finally:
            self.ended.set()

    def _fetch(self, cursor: duckdb.DuckDBPyConnection) -> QueryResult:
        cursor.execute(self.text, dict(self.params))
        description = cursor.description or ()
        columns, types = (tuple(str(each[i]) for each in description) for i in (0, 1))
        rows: list[tuple[Any, ...]] = []
        while not self.stop.is_set() and (chunk := cursor.fetchmany(CHUNK_ROWS)):
            rows += chunk
            if self.most_rows is not None and len(rows) > self.most_rows:
                raise QueryStopped(
                    f"the result has more than {self.most_rows:,} rows; add a LIMIT, or aggregate"
                )
            if self.first_rows is not None and len(rows) >= self.first_rows:
                del rows[self.first_rows :]
                break
        return QueryResult(columns, rows, types)

    def wait(self, seconds: float | None) -> bool:
        """Wait until the statement has ended; False when it has not within the seconds."""
        end = math.inf if seconds is None else time.monotonic() + seconds
        while not self.ended.wait(min(WAKE_SECONDS, max(0.0, end - time.monotonic()))):
            if time.monotonic() >= end:
                return False
        return True

    def interrupt(self) -> None:
        """Ask DuckDB to end the statement until it has."""
        self.stop.set()
        for _ in range(INTERRUPTS):
            if self.cursor is not None and not self.ended.is_set():
                self.cursor.interrupt()
            if self.ended.wait(PATIENCE):
                return


def run_statement(
    connection: duckdb.DuckDBPyConnection,
    text: str,
    params: Mapping[str, object],
    *,
    seconds: float | None = None,
    most_rows: int | None = None,
    first_rows: int | None = None,
) -> QueryResult:
    """Run a statement and fetch its rows.

    Args:
        connection: open.
        text: the statement, with `$name` for a parameter.
        params: values by name.
        seconds: after which it is interrupted; None for no limit.
        most_rows: of the result; None for no limit.
        first_rows: fetched; the rest of the result is left. All rows for None.

    Raises:
        QueryError: when DuckDB cannot run it.
        QueryStopped: when it reaches a limit of time, rows or memory.
        KeyboardInterrupt: at once, when a signal asks for it.
    """
    work = _Work(connection, text, params, most_rows, first_rows)
    threading.Thread(target=work.run, name="maxact-sql", daemon=True).start()
    try:
        in_time = work.wait(seconds)
    except BaseException:
        work.interrupt()
        raise
    if not in_time:
        work.interrupt()
        raise QueryStopped(f"the query was stopped after {seconds:g} seconds, its time limit (--timeout)")
    if isinstance(work.error, MaxactError):
        raise work.error
    if isinstance(work.error, duckdb.OutOfMemoryException):
        raise QueryStopped(one_line(work.error)) from work.error
    if isinstance(work.error, _REFUSED):
        raise QueryError(one_line(work.error)) from work.error
    if work.error is not None:
        raise work.error
    assert work.result is not None
    return work.result


def one_line(error: BaseException) -> str:
    """DuckDB's message on one line, without the copy of the statement."""
    text = str(error).split("\nLINE ")[0]
    return "; ".join(line.strip() for line in text.splitlines() if line.strip()) or type(error).__name__
