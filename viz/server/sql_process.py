"""Run a visitor's SQL in a process of its own, within limits of time, memory, rows and bytes."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

from pipeline.errors import MaxactError, QueryError, QueryStopped, UsageError

__all__ = ["Form", "Sql", "SqlLimits", "SqlRows"]

Form = Literal["page", "csv", "parquet"]
"""What is made of a result."""

RUN = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from {module} import main; main()"
"""The program of the process: it finds modules where this one does."""

MODULE = "viz.server.sql_worker"

MAX_SECONDS = 86_400
"""The longest time limit of a query: a day."""


@dataclass(frozen=True, slots=True)
class SqlLimits:
    """What a query may use.

    Args:
        seconds: from its start to its result.
        memory_mb: of DuckDB.
        threads: of DuckDB.
        rows: that a page shows.
        rows_saved: of a download.
        bytes: of a result.
    """

    seconds: float = 30.0
    memory_mb: int = 1024
    threads: int = 2
    rows: int = 1000
    rows_saved: int = 1_000_000
    bytes: int = 256 << 20

    def __post_init__(self) -> None:
        if not 0 < self.seconds <= MAX_SECONDS:
            raise UsageError(
                f"the time limit of SQL must be above 0 and at most {MAX_SECONDS:,} seconds, "
                f"got {self.seconds:g}"
            )


@dataclass(frozen=True, slots=True)
class SqlRows:
    """Rows for a page.

    Args:
        columns: their names.
        types: DuckDB's.
        rows: values as JSON has them.
        more: whether there are more rows than a page shows.
    """

    columns: tuple[str, ...]
    types: tuple[str, ...]
    rows: list[list[Any]]
    more: bool


class Sql:
    """Runs SQL over an index.

    Args:
        out: folder of the index.
        trust: follow links out of OUT.
        limits: of each query.
    """

    def __init__(self, out: Path, *, trust: bool = False, limits: SqlLimits | None = None) -> None:
        self.out, self.trust, self.limits = out, trust, limits or SqlLimits()
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._ended = False

    def rows(self, text: str, params: Mapping[str, object]) -> SqlRows:
        """The first rows of a SELECT.

        Raises:
            QueryError: when it cannot be run.
            QueryStopped: when it reaches a limit.
        """
        head, _ = self._run(text, params, "page")
        return SqlRows(tuple(head["columns"]), tuple(head["types"]), head["rows"], head["more"])

    def file(self, text: str, params: Mapping[str, object], form: Form) -> bytes:
        """The result of a SELECT as a file; raises as `rows`."""
        return self._run(text, params, form)[1]

    def end(self) -> None:
        """End all queries, and run no others."""
        with self._lock:
            self._ended = True
            for process in self._running:
                process.kill()

    def _run(self, text: str, params: Mapping[str, object], form: Form) -> tuple[dict[str, Any], bytes]:
        limits = self.limits
        request = {
            "out": str(self.out),
            "trust": self.trust,
            "text": text,
            "params": dict(params),
            "form": form,
            "rows": limits.rows if form == "page" else limits.rows_saved,
            "memory_mb": limits.memory_mb,
            "threads": limits.threads,
        }
        answer, code, late, long = self._ask(json.dumps(request).encode())
        if self._ended:
            raise QueryStopped("the query was ended with the server")
        if late:
            raise QueryStopped(f"the query was stopped after {limits.seconds:g} seconds, its time limit")
        if long:
            raise QueryStopped(
                f"the result has more than {limits.bytes >> 20:,} MB, its limit of size; choose fewer columns"
            )
        line, _, body = answer.partition(b"\n")
        try:
            head: dict[str, Any] = json.loads(line)
        except ValueError as error:
            if code < 0 or b"MemoryError" in answer:
                raise QueryStopped(_reached("memory", limits)) from error
            raise MaxactError(f"the query ended without a result (exit code {code})") from error
        if "limit" in head:
            raise QueryStopped(_reached(str(head["limit"]), limits))
        if "error" in head:
            raise QueryError(head["error"])
        return head, body

    def _ask(self, request: bytes) -> tuple[bytes, int, bool, bool]:
        """The output of a process for a request, its exit code, whether it was late, and whether too long."""
        program = [sys.executable, "-B", "-c", RUN.format(module=MODULE), json.dumps(sys.path)]
        late = threading.Event()
        with subprocess.Popen(
            program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env={}
        ) as process:

            def kill_late() -> None:
                late.set()
                process.kill()

            with self._lock:
                self._running.add(process)
                if self._ended:
                    process.kill()
            timer = threading.Timer(self.limits.seconds, kill_late)
            timer.start()
            try:
                assert process.stdin is not None
                assert process.stdout is not None
                with contextlib.suppress(BrokenPipeError):  # it ended before it had read all
                    process.stdin.write(request)
                    process.stdin.close()
                found, long = _read(process.stdout, self.limits.bytes)
                if long:
                    process.kill()
                code = process.wait()
            finally:
                timer.cancel()
                process.kill()
                with self._lock:
                    self._running.discard(process)
        return b"".join(found), code, late.is_set() and not long, long


def _reached(limit: str, limits: SqlLimits) -> str:
    """What a page says of a limit of memory or rows."""
    if limit == "memory":
        return f"the query reached its memory limit, {limits.memory_mb:,} MB; aggregate, or read fewer rows"
    return (
        f"the result reached its row limit, {limits.rows_saved:,} rows in a file; add a LIMIT, or aggregate"
    )


def _read(stream: IO[bytes], most: int) -> tuple[list[bytes], bool]:
    """What a stream gives up to a number of bytes, and whether there is more."""
    parts: list[bytes] = []
    size = 0
    while part := stream.read(1 << 16):
        size += len(part)
        if size > most:
            return parts, True
        parts.append(part)
    return parts, False
