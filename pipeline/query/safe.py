"""A connection that reads one index and nothing else, for SQL that somebody else wrote.

    connection = open_safe_connection(Path("out/demo"), Limits(seconds=5))
    refuse_unsafe(connection, text)
    result = run_statement(connection, text, {}, seconds=5, most_rows=1000)

DuckDB is confined by its own settings, which are then locked: no file outside OUT, no extension, no
temporary file, limits of memory and threads. Because it may still write into a folder that it may read,
and has functions that change settings or take addresses of memory, only a SELECT is run, and only with
the table functions of `TABLE_FUNCTIONS`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from pipeline.errors import QueryError, StoreError, UsageError
from pipeline.query.literals import literal_path, quote_text
from pipeline.query.statements import one_line, run_statement
from pipeline.query.views import create_views, read_preprocess
from pipeline.store.run_file import read_finished_run
from pipeline.store.trust import refuse_links

__all__ = ["TABLE_FUNCTIONS", "Limits", "open_safe_connection", "refuse_unsafe"]

TABLE_FUNCTIONS = frozenset(
    ("generate_series", "json_each", "json_tree", "range", "repeat", "repeat_row", "unnest")
)
"""The functions that may stand in a FROM clause; the others read files, run text, or change settings."""

PARSE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Limits:
    """What a confined query may use.

    Args:
        memory_mb: DuckDB's memory, in megabytes; it writes nothing to disk beyond it.
        threads: of DuckDB.
        seconds: of one query; None for no limit.
        rows: of one result.
    """

    memory_mb: int = 1024
    threads: int = 2
    seconds: float | None = 30.0
    rows: int = 1_000_000

    def __post_init__(self) -> None:
        for name in ("memory_mb", "threads", "rows"):
            value = getattr(self, name)
            if not isinstance(value, int) or not 1 <= value <= 1 << 31:
                raise UsageError(f"the limit {name} must be a whole number from 1, got {value!r}")
        seconds = self.seconds
        if seconds is not None and not (isinstance(seconds, int | float) and 0 < seconds <= 1_000_000):
            raise UsageError(f"the limit of seconds must be above 0, got {seconds!r}")


def open_safe_connection(
    out: Path, limits: Limits | None = None, *, trust: bool = False
) -> duckdb.DuckDBPyConnection:
    """A connection with the views of an index, which can read its folder only and whose settings are locked.

    Args:
        out: folder of a finished index.
        limits: of memory and threads; time and rows are limits of `run_statement`.
        trust: follow links out of OUT; DuckDB still reads nothing outside.

    Raises:
        StoreError: when OUT holds no finished index, or a table cannot be read.
        UntrustedIndex: when a link leads out of OUT.
    """
    limits = limits or Limits()
    # DuckDB compares paths as text: links in the way to OUT are resolved first.
    root = Path(os.path.realpath(out))
    if not trust:
        refuse_links(root)
    run = read_finished_run(out)
    preprocess = read_preprocess(run, out)
    connection = duckdb.connect(config={"python_enable_replacements": False})
    try:
        create_views(connection, root, preprocess, fingerprint=run["fingerprint"])
        for setting, value in _settings(root, limits).items():
            connection.execute(f"SET {setting} = {value}")
        connection.execute("SET lock_configuration = true")
    except duckdb.Error as error:
        connection.close()
        raise StoreError(f"{out} cannot be opened: {one_line(error)}") from error
    except BaseException:
        connection.close()
        raise
    return connection


def _settings(root: Path, limits: Limits) -> dict[str, str]:
    """DuckDB's settings by name, as SQL; the one that makes files unreachable is the last."""
    # The views write the folder as a pattern: wildcards in its name are escaped there.
    folders = ", ".join(map(quote_text, {str(root), literal_path(root)}))
    return {
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
        "allow_community_extensions": "false",
        "allow_persistent_secrets": "false",
        "allowed_directories": f"[{folders}]",
        "memory_limit": f"'{limits.memory_mb}MB'",
        "threads": str(limits.threads),
        "temp_directory": "''",
        "enable_external_access": "false",
    }


def refuse_unsafe(connection: duckdb.DuckDBPyConnection, text: str) -> None:
    """Refuse SQL that is more than one SELECT over tables, views and harmless table functions.

    Args:
        connection: parses the text; nothing of it is run.
        text: SQL.

    Raises:
        QueryError: when it is refused, or is not SQL.
    """
    ((parsed,),) = run_statement(
        connection, "SELECT json_serialize_sql($text::VARCHAR)", {"text": text}, seconds=PARSE_SECONDS
    ).rows
    try:
        tree = json.loads(parsed)
    except RecursionError as error:
        raise QueryError("the statement is nested too deeply") from error
    if tree.get("error"):
        message = str(tree.get("error_message", "it cannot be parsed"))
        if tree.get("error_type") == "not implemented":
            message = "only SELECT runs with --safe; run the statement without it if you trust it"
        raise QueryError(one_line(ValueError(message)))
    if len(tree["statements"]) != 1:
        raise QueryError(f"one SELECT at a time runs with --safe, got {len(tree['statements'])} statements")
    for name in _table_functions(tree):
        if name not in TABLE_FUNCTIONS:
            raise QueryError(
                f"the table function {name!a} does not run with --safe; "
                f"those that do are {', '.join(sorted(TABLE_FUNCTIONS))}"
            )


def _table_functions(tree: Any) -> Iterator[str]:
    """The names of all functions in FROM clauses, at any depth."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            if node.get("type") == "TABLE_FUNCTION":
                yield str(node["function"]["function_name"]).lower()
            waiting.extend(node.values())
        elif isinstance(node, list):
            waiting.extend(node)
