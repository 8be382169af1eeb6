"""SQL from somebody else: a confined connection reads one index, and nothing else happens."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.errors import QueryError, QueryStopped, StoreError, UntrustedIndex, UsageError
from pipeline.query.index import Index, open_index
from pipeline.query.safe import Limits, open_safe_connection, refuse_unsafe
from tests.fixtures.small_index import build_index


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_index(tmp_path_factory.mktemp("it's [safe]"))


@pytest.fixture(scope="module")
def index(out: Path) -> Iterator[Index]:
    with open_index(out, limits=Limits(rows=1000, seconds=20)) as index:
        yield index


ALLOWED = (
    "SELECT count(*) FROM images",
    "FROM layers",
    "VALUES (1), (2)",
    "WITH a AS (SELECT * FROM units) SELECT max(max) FROM a",
    "SELECT unnest([1, 2, 3])",
    "SELECT * FROM range(3), unnest([1, 2])",
    "SELECT * FROM generate_series(1, 3)",
    "SELECT * FROM json_each('[1, 2]')",
    "DESCRIBE images",
    "SUMMARIZE units",
    "SHOW TABLES",
    "SELECT * FROM patches WHERE key LIKE 'disc/%' ORDER BY rank LIMIT 3",
    "SELECT layer, unit, rank() OVER (PARTITION BY layer ORDER BY max) FROM units",
)

ESCAPES = (
    "COPY (SELECT 1) TO '{outside}/stolen.csv'",
    "COPY (SELECT 1) TO '{out}/planted.parquet' (FORMAT parquet)",
    "COPY images TO '{out}/images.parquet' (FORMAT parquet)",
    "COPY images FROM '{outside}/secret.csv'",
    "SELECT 1; COPY (SELECT 1) TO '{out}/planted.csv'",
    "SELECT 1; SELECT 2",
    "SELECT * FROM read_text('{outside}/secret.csv')",
    "SELECT * FROM read_blob('{outside}/secret.csv')",
    "SELECT * FROM read_csv('{outside}/secret.csv')",
    "SELECT * FROM READ_CSV_AUTO('{outside}/secret.csv')",
    "SELECT * FROM read_json('{outside}/secret.csv')",
    "SELECT * FROM read_parquet('{outside}/secret.parquet')",
    "SELECT * FROM parquet_metadata('{outside}/secret.parquet')",
    "SELECT * FROM sniff_csv('{outside}/secret.csv')",
    "SELECT * FROM '{outside}/secret.csv'",
    "SELECT * FROM '{outside}/secret.parquet'",
    "SELECT * FROM '{out}/../secret.csv'",
    "SELECT * FROM glob('{outside}/*')",
    "SELECT (SELECT count(*) FROM glob('/etc/*'))",
    "SELECT * FROM layers, LATERAL (SELECT * FROM read_text('{outside}/secret.csv'))",
    "WITH s AS (SELECT * FROM read_text('{outside}/secret.csv')) SELECT * FROM s",
    "SELECT * FROM system.main.read_text('{outside}/secret.csv')",
    "SELECT * FROM query('SELECT * FROM read_text(''{outside}/secret.csv'')')",
    "SELECT * FROM query_table('{outside}/secret.csv')",
    "SELECT * FROM json_execute_serialized_sql(json_serialize_sql('SELECT 1'))",
    "EXPLAIN ANALYZE COPY (SELECT 1) TO '{outside}/stolen.csv'",
    "ATTACH '{outside}/new.db' AS other",
    "ATTACH '{out}/new.db' AS other",
    "SELECT * FROM read_duckdb('{outside}/new.db')",
    "EXPORT DATABASE '{outside}/dump'",
    "IMPORT DATABASE '{outside}/dump'",
    "INSTALL httpfs",
    "LOAD httpfs",
    "LOAD '{outside}/evil.duckdb_extension'",
    "SELECT getenv('HOME')",
    "SELECT * FROM 'http://127.0.0.1:9/x.parquet'",
    "SELECT * FROM read_parquet('https://127.0.0.1:9/x.parquet')",
    "SET threads = 64",
    "SET GLOBAL memory_limit = '64GB'",
    "RESET memory_limit",
    "SET lock_configuration = false",
    "SET enable_external_access = true",
    "PRAGMA enable_profiling",
    "PRAGMA profiling_output = '{outside}/stolen.json'",
    "SELECT * FROM enable_profiling()",
    "SELECT * FROM enable_logging()",
    "CALL enable_logging(storage = 'file')",
    "CREATE TABLE kept AS SELECT 1",
    "CREATE OR REPLACE VIEW images AS SELECT 1",
    "CREATE SECRET (TYPE http, bearer_token 'x')",
    "DROP VIEW images",
    "DELETE FROM images",
    "PREPARE p AS SELECT 1",
    "VACUUM",
    "CHECKPOINT",
    "USE memory",
    "SELECT * FROM pandas_scan(1)",
    "SELECT * FROM arrow_scan(1, 2, 3)",
    "SELECT * FROM python_map_function(1)",
    "SELECT * FROM which_secret('a', 'http')",
    "SELECT * FROM secret_of_python",
)


@pytest.mark.parametrize("text", ALLOWED)
def test_a_select_runs(index: Index, text: str) -> None:
    assert index.sql(text).rows


def test_parameters_are_bound(index: Index) -> None:
    assert index.sql("SELECT key FROM images WHERE image_id = $id", id=0).rows


def test_there_are_many_escapes() -> None:
    assert len(set(ESCAPES)) >= 25


@pytest.fixture
def outside(tmp_path: Path, out: Path) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    (tmp_path / "secret.csv").write_text("word\nhush\n")
    (out.parent / "secret.csv").write_text("word\nhush\n")
    pq.write_table(pa.table({"word": ["hush"]}), tmp_path / "secret.parquet")
    return tmp_path


@pytest.mark.parametrize("text", ESCAPES)
def test_an_escape_is_refused_in_one_line(index: Index, out: Path, outside: Path, text: str) -> None:
    secret_of_python = [{"word": "hush"}]
    before = {
        path: path.read_bytes() for folder in (out, outside) for path in folder.iterdir() if path.is_file()
    }
    text = text.format(out=str(out).replace("'", "''"), outside=outside)
    with pytest.raises(QueryError) as caught:
        index.sql(text)
    assert "\n" not in str(caught.value)
    assert "hush" not in str(caught.value)
    after = {
        path: path.read_bytes() for folder in (out, outside) for path in folder.iterdir() if path.is_file()
    }
    assert after == before
    assert index.sql("SELECT count(*) FROM images").rows == [(48,)]
    del secret_of_python


def test_the_escapes_are_refused_by_duckdb_too(out: Path, outside: Path) -> None:
    """The settings alone keep files outside OUT unreachable, whatever the check of the text lets pass."""
    import duckdb

    connection = open_safe_connection(out)
    for text in ESCAPES:
        if "{outside}" in text and not text.startswith(("EXPLAIN", "PRAGMA", "LOAD")):
            with pytest.raises(duckdb.Error):
                connection.execute(text.format(out=str(out).replace("'", "''"), outside=outside)).fetchall()
    connection.close()
    assert sorted(path.name for path in outside.iterdir()) == ["secret.csv", "secret.parquet"]


def test_time_rows_and_memory_are_limited(out: Path, index: Index) -> None:
    with open_index(out, limits=Limits(seconds=0.3)) as limited:
        started = time.monotonic()
        with pytest.raises(QueryStopped, match=r"stopped after 0.3 seconds"):
            limited.sql("SELECT count(*) FROM range(1000000) a, range(1000000) b")
        assert time.monotonic() - started < 10
    with pytest.raises(QueryStopped, match="more than 1,000 rows"):
        index.sql("SELECT * FROM range(100000)")
    with (
        open_index(out, limits=Limits(memory_mb=32)) as small,
        pytest.raises(QueryStopped, match=r"(?i)memory") as caught,
    ):
        small.sql("SELECT list(range) FROM range(100000000)")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("change", [{"memory_mb": 0}, {"threads": 0}, {"rows": -1}, {"seconds": 0}])
def test_limits_that_cannot_be(change: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="the limit"):
        Limits(**change)


def test_the_connection_of_a_damaged_index_is_an_error(tmp_path: Path) -> None:
    out = build_index(tmp_path)
    (out / "images.parquet").write_bytes(b"no")
    with pytest.raises(StoreError, match=r"images.parquet cannot be read"):
        open_safe_connection(out)
    (out / "images.parquet").unlink()
    os.symlink("/etc/passwd", out / "images.parquet")
    with pytest.raises(UntrustedIndex, match="leads out"):
        open_safe_connection(out)


def test_text_that_is_no_sql_and_text_nested_deeply(out: Path) -> None:
    connection = open_safe_connection(out)
    for text in ("", ";", "SELEC 1", "\0", "SELECT " + "(" * 3000 + "1" + ")" * 3000):
        with pytest.raises(QueryError) as caught:
            refuse_unsafe(connection, text)
        assert "\n" not in str(caught.value)
    connection.close()


def test_the_first_rows_are_confined_as_well(index: Index, tmp_path: Path) -> None:
    found, more = index.first_rows("SELECT range AS n FROM range($n)", 5, {"n": 1_000_000})
    assert (found.columns, found.rows, more) == (("n",), [(n,) for n in range(5)], True)
    found, more = index.first_rows("SHOW TABLES", 1000, {})
    assert ("units",) in found.rows
    assert not more
    with pytest.raises(QueryError, match="only SELECT"):
        index.first_rows(f"COPY units TO '{tmp_path / 'x.csv'}'", 5, {})


def test_a_statement_nested_too_deeply_is_refused(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    def deep(text: str) -> None:
        raise RecursionError

    monkeypatch.setattr("pipeline.query.safe.json.loads", deep)
    with pytest.raises(QueryError, match="the statement is nested too deeply"):
        index.sql("SELECT 1")


def test_an_index_that_duckdb_cannot_open_is_one_line(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.query.safe._settings", lambda root, limits: {"no_such_setting": "1"})
    with pytest.raises(StoreError, match=r"cannot be opened: .*no_such_setting"):
        open_safe_connection(out, Limits())


def test_a_trusted_index_may_have_links(out: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (out / "link").symlink_to(tmp_path / "data")
    try:
        with pytest.raises(UntrustedIndex, match="is a link that leads out of"):
            open_safe_connection(out, Limits())
        open_safe_connection(out, Limits(), trust=True).close()
    finally:
        (out / "link").unlink()
