"""SQL of visitors: rows as cells, downloads, and every limit, which the page names."""

from __future__ import annotations

import html
import io
import os
import re
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from starlette.testclient import TestClient

from pipeline.errors import QueryError, QueryStopped
from pipeline.query.index import open_index
from tests.viz.atlas.conftest import HOSTILE, LAYER
from viz.server.questions import Question
from viz.server.served import ServedIndexes
from viz.server.sql_process import Sql, SqlLimits, SqlRows
from viz.server.tables import Linker

pytestmark = pytest.mark.slow

ENDLESS = "SELECT count(*) FROM range(10000000000) a, range(1000) b WHERE a.range * b.range % 7 = 3"


def alert(text: str) -> str:
    """What a page says went wrong."""
    found = re.search(r'role="alert">([^<]*)<', text)
    return html.unescape(found[1]) if found else ""


def test_rows_are_those_of_the_index(tiny_out: Path) -> None:
    text = "SELECT layer, unit, max, max > 1 AS high, NULL AS none FROM units ORDER BY layer, unit"
    found = Sql(tiny_out).rows(text, {})
    with open_index(tiny_out) as index:
        expected = index.sql(text)
    assert found.columns == expected.columns
    assert found.types == expected.types
    assert [tuple(row) for row in found.rows] == expected.rows
    assert not found.more


def test_values_of_any_type_are_shown(tiny_out: Path) -> None:
    text = (
        "SELECT 'nan'::DOUBLE a, 'inf'::DOUBLE b, 4611686018427387904 c, '\\xff'::BLOB d, "
        "DATE '2020-01-02' e, [1, 2] f, {'k': 'v'} g, repeat('x', 5000) h, "
        "170141183460469231731687303715884105727::HUGEINT i, INTERVAL 3 DAY j, "
        "1.5::DECIMAL(5, 2) k, true l, uuid() m"
    )
    (row,) = Sql(tiny_out).rows(text, {}).rows
    assert row[:5] == ["nan", "inf", 1 << 62, "ff", "2020-01-02"]
    assert row[5:7] == ["[1, 2]", "{'k': 'v'}"]
    assert len(row[7]) == 501
    assert row[8] == 170141183460469231731687303715884105727
    assert row[11] is True


def test_the_page_shows_the_first_rows_and_says_that_there_are_more(tiny_out: Path) -> None:
    sql = Sql(tiny_out, limits=SqlLimits(rows=7))
    found = sql.rows("SELECT range AS n FROM range(1000000000)", {})
    assert [row[0] for row in found.rows] == [*range(7)]
    assert found.more
    assert not sql.rows("SELECT range FROM range(7)", {}).more


@pytest.mark.parametrize(
    ("limits", "text", "message"),
    [
        ({"seconds": 2.0}, ENDLESS, "stopped after 2 seconds, its time limit"),
        ({"memory_mb": 100}, "SELECT list(range) FROM range(500000000)", "reached its memory limit, 100 MB"),
        ({"memory_mb": 100}, "SELECT repeat('x', 2000000000)", "reached its memory limit, 100 MB"),
    ],
)
def test_a_query_is_ended_at_its_limit(
    tiny_out: Path, limits: dict[str, float], text: str, message: str
) -> None:
    sql = Sql(tiny_out, limits=replace(SqlLimits(), **limits))
    with pytest.raises(QueryStopped, match=re.escape(message)):
        sql.rows(text, {})
    assert sql.rows("SELECT 1", {}).rows == [[1]]


def test_a_download_has_limits_of_rows_and_bytes(tiny_out: Path) -> None:
    sql = Sql(tiny_out, limits=SqlLimits(rows_saved=10, bytes=100_000))
    with pytest.raises(QueryStopped, match="reached its row limit, 10 rows"):
        sql.file("SELECT * FROM range(11)", {}, "csv")
    with pytest.raises(QueryStopped, match="limit of size"):
        sql.file("SELECT repeat('x', 1000000)", {}, "csv")
    assert sql.file("SELECT * FROM range(2)", {}, "csv") == b"range\n0\n1\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("COPY units TO '{folder}/x.csv'", "only SELECT runs here"),
        ("SELECT * FROM read_text('{folder}/secret')", "'read_text' does not run here"),
        ("SELECT * FROM '{folder}/secret.csv'", "."),
        ("ATTACH '{folder}/x.db'", "only SELECT runs here"),
        ("SET enable_external_access = true", "only SELECT runs here"),
        ("SELECT 1; SELECT 2", "one SELECT at a time"),
        ("SELEC", "syntax error"),
        ("SELECT nothing FROM units", "nothing"),
        ("SELECT $n", "."),
        ("(" * 20_000, "."),
        ("\x00", "."),
    ],
)
def test_what_is_no_select_of_the_index_is_refused(
    tiny_out: Path, tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "secret.csv").write_text("secret\n1\n")
    with pytest.raises((QueryError, QueryStopped), match=message) as refused:
        Sql(tiny_out).rows(text.format(folder=tmp_path), {})
    assert "--safe" not in str(refused.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["secret", "secret.csv"]


def test_the_process_has_nothing_of_the_environment(tiny_out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAXACT_SECRET", "secret")
    assert "MAXACT_SECRET" in os.environ
    with pytest.raises(QueryError):
        Sql(tiny_out).rows("SELECT getenv('MAXACT_SECRET')", {})


def test_a_named_query_is_filled_in_and_runs(owner: TestClient, served: ServedIndexes) -> None:
    page = owner.get("/0/query.html?query=top_images").text
    assert "FROM patches" in page
    form = {"query": "top_images", "sql": Question().text, "p.layer": "first", "p.unit": "1", "p.n": "3"}
    form["sql"] = html.unescape(re.search(r"<textarea[^>]*>\n(.*?)</textarea>", page, re.DOTALL)[1])  # type: ignore[index]
    text = owner.post("/0/query.html", data=form).text
    assert "3 rows" in text
    with open_index(served.atlases[0].index.out) as index:
        for image in index.top("first", 1, n=3):
            assert f'href="./image/{image.image_id:x}.html"' in text
            assert f'src="./photographs/{image.image_id:x}.webp"' in text
    assert "p.unit=1" in re.search(r'href="query.html\?([^"]*)"', text)[1]  # type: ignore[index]
    wrong = owner.post("/0/query.html", data={**form, "p.unit": "x"})
    assert wrong.status_code == 400
    assert "unit" in alert(wrong.text)
    assert "needs unit" in alert(owner.post("/0/query.html", data={**form, "p.unit": ""}).text)


def test_a_link_fills_the_box_but_runs_nothing(visitor: TestClient) -> None:
    page = visitor.get("/0/query.html", params={"sql": "SELECT '<b>' FROM top", "query": "no such"}).text
    assert "SELECT &#39;&lt;b&gt;&#39; FROM top</textarea>" in page
    assert 'id="rows"' not in page


def test_the_page_says_which_limit_was_reached(owner: TestClient, served: ServedIndexes) -> None:
    sql = served.atlases[0].sql
    before, sql.limits = sql.limits, SqlLimits(seconds=1.5)
    try:
        answer = owner.post("/0/query.html", data={"sql": ENDLESS})
        assert alert(answer.text) == "the query was stopped after 1.5 seconds, its time limit"
        answer = owner.post("/0/query.csv", data={"sql": ENDLESS}, headers={"Accept": "text/html"})
        assert "its time limit" in answer.text
    finally:
        sql.limits = before
    text = owner.post("/0/query.html", data={"sql": "SELECT range AS n FROM range(5000)"}).text
    assert "The row limit was reached: these are the first 1,000 rows" in text


def test_the_views_that_the_page_names_are_there(owner: TestClient) -> None:
    page = owner.get("/0/query.html").text.partition('id="views"')[2].partition("</p>")[0]
    named = set(re.findall(r"<code>(\w+)</code>", page))
    text = owner.post("/0/query.csv", data={"sql": "SHOW TABLES"}).text
    assert len(named) > 10
    assert named <= {*text.split()}


def test_downloads(owner: TestClient) -> None:
    form = {"sql": "SELECT layer, unit, max FROM units ORDER BY layer, unit LIMIT 2"}
    csv = owner.post("/0/query.csv", data=form)
    assert csv.headers["content-disposition"] == 'attachment; filename="query.csv"'
    assert csv.text.splitlines()[0] == "layer,unit,max"
    assert len(csv.text.splitlines()) == 3
    parquet = owner.post("/0/query.parquet", data=form)
    table = pq.read_table(io.BytesIO(parquet.content))
    assert table.column_names == ["layer", "unit", "max"]
    assert [f"{row['layer']},{row['unit']}" for row in table.to_pylist()] == [
        line.rpartition(",")[0] for line in csv.text.splitlines()[1:]
    ]


def test_hostile_text_is_escaped_and_linked(owner: TestClient) -> None:
    text = owner.post("/1/query.html", data={"sql": "SELECT layer, unit, max FROM units WHERE unit < 2"}).text
    assert LAYER not in text
    assert html.escape(LAYER) in text
    assert 'href="./unit/1/1.html"' in text
    labels = owner.post("/1/query.html", data={"sql": "SELECT DISTINCT label FROM images"}).text
    for name in ("<script>alert", "<img src=x", "</title><b>", "\u202e", "\u200b", "\x01"):
        assert name not in labels.partition("<main")[2]
    assert labels.count('href="./label/') == len(HOSTILE)
    names = {"sql": 'SELECT 1 AS "<script>alert(1)</script>"'}
    assert "<script>alert" not in owner.post("/1/query.html", data=names).text


def test_a_spreadsheet_runs_nothing_of_a_download(owner: TestClient) -> None:
    csv = owner.post("/1/query.csv", data={"sql": "SELECT '=1+1' AS a, -5 AS b"}).text
    assert csv == "a,b\n'=1+1,-5\n"


@pytest.mark.parametrize("form", [{}, {"sql": "  "}, {"query": "top_images"}])
def test_an_empty_box_is_refused(owner: TestClient, form: dict[str, str]) -> None:
    answer = owner.post("/0/query.html", data=form or {"x": ""})
    assert answer.status_code == 400
    assert "write a SELECT first" in answer.text


def test_cells_of_columns_that_only_look_like_units(served: ServedIndexes) -> None:
    contents = served.atlases[0].contents
    found = SqlRows(
        ("layer", "unit", "image_id", "label"),
        ("VARCHAR", "INTEGER", "BIGINT", "VARCHAR"),
        [
            ["no such", 1, -1, "x"],
            ["first", 99, True, None],
            ["first", "1", "0", "a"],
            [None, None, 1 << 90, 3],
        ],
        False,
    )
    cells = Linker(contents.layers, lambda: contents.labels, "").cells(found)
    linked = [[bool(cell.link) for cell in row] for row in cells]
    assert linked == [
        [False, False, False, False],
        [True, False, False, False],
        [True, False, False, True],
        [False, False, False, False],
    ]
