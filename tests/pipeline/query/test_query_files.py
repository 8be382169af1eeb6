"""Queries of the user's own: a file with the header of the named ones, given by its path."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.errors import QueryError, UsageError
from pipeline.query.index import Index, open_index
from pipeline.query.safe import Limits
from tests.fixtures.commands import done, refused, run
from tests.fixtures.small_index import build_index

QUERY = """\
-- The units with the widest range of peaks.
--
-- Parameters
--   $layer: text = any        only this layer
--   $n: integer 1.. = 3       number of units
-- Columns
--   layer                     name of the layer
--   unit                      number of the unit
--   width                     highest peak less the lowest
SELECT layer, unit, max - min AS width FROM units
WHERE $layer IS NULL OR layer = $layer
ORDER BY width DESC, layer, unit LIMIT $n
"""


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_index(tmp_path_factory.mktemp("files"))


@pytest.fixture(scope="module")
def index(out: Path) -> Iterator[Index]:
    with open_index(out) as index:
        yield index


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "wide.sql"
    path.write_text(QUERY)
    return path


def test_a_file_is_a_query_with_its_parameters(index: Index, file: Path) -> None:
    found = index.query(str(file), layer="stem", n=2)
    assert found.columns == ("layer", "unit", "width")
    expected = "SELECT layer, unit, max - min FROM units WHERE layer = 'stem' ORDER BY 3 DESC, unit LIMIT 2"
    assert found.rows == index.sql(expected).rows
    assert len(index.query(str(file)).rows) == 3
    with pytest.raises(UsageError, match=r"wide\.sql: n .* an integer of at least 1, got '0'"):
        index.query(str(file), n=0)


def test_a_file_that_was_changed_is_read_again(index: Index, file: Path) -> None:
    assert len(index.query(str(file)).rows) == 3
    file.write_text(QUERY.replace("= 3 ", "= 1 "))
    assert len(index.query(str(file)).rows) == 1


def test_the_command_line_runs_and_describes_a_file(out: Path, file: Path) -> None:
    lines = done("query", out, file, "n=2", "--csv").stdout.splitlines()
    assert lines[0] == "layer,unit,width"
    assert len(lines) == 3
    described = done("queries", file).stdout
    assert f"maxact query OUT {file} [layer=any] [n=3]" in described
    assert "highest peak less the lowest" in described


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot read query"),
        (b"\xff\xfe", "cannot read query"),
        (b"SELECT 1", "needs a purpose, a list of columns and a SELECT"),
        (QUERY.replace("integer 1..", "whole").encode(), "expected `\\$name: kind = default  about`"),
        (QUERY.replace("max - min", "max - most").encode(), 'column "most" not found'),
    ],
)
def test_a_file_that_is_no_query_is_named(
    index: Index, out: Path, file: Path, content: bytes | None, words: str
) -> None:
    if content is None:
        file.unlink()
    else:
        file.write_bytes(content)
    with pytest.raises(QueryError, match=words):
        index.query(str(file))
    assert words.split("`")[0] in refused(run("query", out, file), 2)


def test_a_file_is_confined_where_sql_is(out: Path, file: Path) -> None:
    with open_index(out, limits=Limits(rows=100, seconds=20)) as confined:
        assert len(confined.query(str(file)).rows) == 3
        file.write_text(QUERY.replace("FROM units", f"FROM read_text('{file}'), units"))
        with pytest.raises(QueryError):
            confined.query(str(file))
