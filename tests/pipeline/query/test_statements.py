"""A statement in a thread: limits, interruption, and results as DuckDB has them."""

from __future__ import annotations

import signal
import threading
import time

import duckdb
import pytest

from pipeline.errors import QueryStopped
from pipeline.query.statements import run_statement

ENDLESS = "SELECT count(*) FROM range(1000000) a, range(1000000) b"


@pytest.fixture
def connection() -> duckdb.DuckDBPyConnection:
    return duckdb.connect()


def test_all_rows_come_in_order_whatever_the_chunk(connection: duckdb.DuckDBPyConnection) -> None:
    result = run_statement(connection, "SELECT range AS n, range % 7 = 0 AS odd FROM range(50001)", {})
    assert result.columns == ("n", "odd")
    assert result.types == ("BIGINT", "BOOLEAN")
    assert result.rows == [(n, n % 7 == 0) for n in range(50001)]
    assert run_statement(connection, "SELECT 1 WHERE false", {}).rows == []
    assert run_statement(connection, "SET threads = 1", {}).rows == []


def test_the_first_rows_of_a_result_without_end(connection: duckdb.DuckDBPyConnection) -> None:
    endless = "SELECT range AS n FROM range(1000000000000)"
    for count in (1, 7, 20_000):
        found = run_statement(connection, endless, {}, seconds=20, first_rows=count)
        assert found.rows == [(n,) for n in range(count)]
    assert run_statement(connection, "SELECT 1 AS one", {}, first_rows=5).rows == [(1,)]


def test_a_time_limit_ends_the_statement_and_not_the_connection(
    connection: duckdb.DuckDBPyConnection,
) -> None:
    started = time.monotonic()
    with pytest.raises(QueryStopped, match=r"stopped after 0.2 seconds, its time limit \(--timeout\)"):
        run_statement(connection, ENDLESS, {}, seconds=0.2)
    assert time.monotonic() - started < 10
    assert run_statement(connection, "SELECT 1", {}, seconds=10).rows == [(1,)]
    assert not [thread for thread in threading.enumerate() if thread.name == "maxact-sql"]


@pytest.mark.parametrize(
    "text",
    [
        ENDLESS,
        "SELECT * FROM range(1000000000)",
        "SELECT md5(a.range || b.range) x FROM range(999999) a, range(9999) b ORDER BY x",
    ],
)
def test_an_interrupt_arrives_at_once(connection: duckdb.DuckDBPyConnection, text: str) -> None:
    timer = threading.Timer(0.4, signal.raise_signal, [signal.SIGINT])
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    timer.start()
    started = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            run_statement(connection, text, {})
    finally:
        timer.join()
        signal.signal(signal.SIGINT, before)
    assert time.monotonic() - started < 10
    assert run_statement(connection, "SELECT 1", {}).rows == [(1,)]


def test_it_runs_outside_the_main_thread_too(connection: duckdb.DuckDBPyConnection) -> None:
    found: list[object] = []
    thread = threading.Thread(target=lambda: found.append(run_statement(connection, "SELECT 2", {}).rows))
    thread.start()
    thread.join()
    assert found == [[(2,)]]


def test_rows_are_counted(connection: duckdb.DuckDBPyConnection) -> None:
    assert len(run_statement(connection, "SELECT * FROM range(20)", {}, most_rows=20).rows) == 20
    with pytest.raises(QueryStopped, match="more than 19 rows"):
        run_statement(connection, "SELECT * FROM range(20)", {}, most_rows=19)


def test_an_error_that_is_not_duckdbs_is_raised_as_it_is(connection: duckdb.DuckDBPyConnection) -> None:
    class Broken:
        def cursor(self) -> duckdb.DuckDBPyConnection:
            raise ZeroDivisionError("a fault of the program")

    with pytest.raises(ZeroDivisionError, match="a fault of the program"):
        run_statement(Broken(), "SELECT 1", {})  # type: ignore[arg-type]
