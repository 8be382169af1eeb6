"""The process in which a visitor's SQL runs: it reads one index, and is killed when its time is over.

It takes a request as JSON from standard input, and answers on standard output with one line of JSON and,
for a download, the file after it.
"""

from __future__ import annotations

import contextlib
import datetime
import io
import json
import math
import resource
import sys
from pathlib import Path
from typing import Any

from pipeline.errors import MaxactError, QueryStopped

__all__ = ["MAX_CELL", "main"]

MAX_CELL = 500
"""Letters of a value that a page shows."""

SPARE_MEMORY = 3 << 30
"""Address space beside DuckDB's memory: libraries, threads, the result in Python."""


def main() -> None:
    """Answer the request on standard input."""
    request = json.load(sys.stdin)
    _confine(int(request["memory_mb"]))
    try:
        head, body = _answer(request)
    except QueryStopped as error:
        rows = "more than" in str(error) and "rows" in str(error)
        head, body = {"limit": "rows" if rows else "memory", "error": str(error)}, b""
    except MaxactError as error:
        head, body = {"error": _here(str(error))}, b""
    except MemoryError:
        head, body = {"limit": "memory", "error": "the result does not fit into the memory"}, b""
    sys.stdout.buffer.write(json.dumps(head).encode() + b"\n" + body)
    sys.stdout.buffer.flush()


def _confine(memory_mb: int) -> None:
    """Take from this process what a query does not need: memory without end, and files."""
    limits = {
        resource.RLIMIT_AS: (memory_mb << 20) + SPARE_MEMORY,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CORE: 0,
    }
    for kind, limit in limits.items():
        _, hard = resource.getrlimit(kind)
        most = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        with contextlib.suppress(ValueError, OSError):  # a system without this limit
            resource.setrlimit(kind, (most, most))


def _here(message: str) -> str:
    """A message of the command line's `--safe`, for a page on which all SQL is confined."""
    return message.replace("; run the statement without it if you trust it", "").replace(
        " with --safe", " here"
    )


def _answer(request: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    from pipeline.query.index import open_index
    from pipeline.query.safe import Limits

    rows = int(request["rows"])
    limits = Limits(memory_mb=request["memory_mb"], threads=request["threads"], seconds=None, rows=rows)
    with open_index(Path(request["out"]), trust=request["trust"], limits=limits) as index:
        if request["form"] != "page":
            found = index.first_rows(request["text"], rows, request["params"])
            if found[1]:
                raise QueryStopped(f"the result has more than {rows:,} rows; add a LIMIT, or aggregate")
            return {}, _file(found[0], request["form"])
        result, more = index.first_rows(request["text"], rows, request["params"])
    head = {
        "columns": result.columns,
        "types": result.types,
        "rows": [[_shown(value) for value in row] for row in result.rows],
        "more": more,
    }
    return head, b""


def _file(result: Any, form: str) -> bytes:
    """A result as CSV for a spreadsheet, or as Parquet."""
    if form == "parquet":
        import pyarrow.parquet as pq

        stream = io.BytesIO()
        pq.write_table(result.arrow(), stream)
        return stream.getvalue()
    from pipeline.cli.output import write_rows

    text = io.StringIO()
    write_rows(text, result.columns, result.rows, "safe-csv")
    return text.getvalue().encode("utf-8", "backslashreplace")


def _shown(value: Any) -> Any:
    """A value as JSON has it: a whole number, a number, or text of at most `MAX_CELL` letters."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, bytes | bytearray | memoryview):
        text = bytes(value[: MAX_CELL // 2]).hex()
    elif isinstance(value, datetime.date | datetime.time):
        text = value.isoformat()
    else:
        text = str(value)
    return text if len(text) <= MAX_CELL else f"{text[:MAX_CELL]}\N{HORIZONTAL ELLIPSIS}"
