"""Every file of queries/ has a truthful header, and runs on a small index."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.errors import QueryError
from pipeline.query.index import Index, open_index
from pipeline.query.named_queries import (
    describe_query,
    load_query,
    parse_query,
    query_folder,
    query_names,
)
from tests.fixtures.small_index import build_index

EXAMPLES: dict[str, dict[str, object]] = {
    "image_profile": {"image": 3},
    "image_units": {"image": 3},
    "label_units": {"label": "bars"},
    "layer_histogram": {"layer": "blocks.1"},
    "named_units": {"text": "disc"},
    "shared_images": {"layer": "blocks.1"},
    "top_images": {"layer": "blocks.1", "unit": 3},
    "unit_card": {"layer": "blocks.1", "unit": 3},
    "unit_labels": {"layer": "blocks.1", "unit": 3},
    "unit_semantics": {"layer": "blocks.1"},
    "unit_names": {"layer": "blocks.1", "unit": 0},
    "unit_strata": {"layer": "blocks.1", "unit": 3},
}
"""Values of the parameters that have no default."""


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    with open_index(build_index(tmp_path_factory.mktemp("small"), keep_peaks=True)) as index:
        yield index


def test_the_queries_that_the_project_promises() -> None:
    assert set(query_names()) >= {
        "top_images",
        "unit_card",
        "layer_overview",
        "label_units",
        "hub_images",
        "shared_images",
        "dead_units",
        "most_selective",
        "layer_histogram",
        "compare",
        "unit_strata",
        "synthetic_vs_real",
    }


@pytest.mark.parametrize("name", query_names())
def test_a_query_runs_and_gives_the_columns_of_its_header(name: str, index: Index) -> None:
    values = EXAMPLES.get(name, {})
    if name == "compare":
        values = {"other": str(index.out), "layer": "head", "other_layer": "head"}
    result = index.query(name, **values)
    assert result.columns == tuple(column.name for column in load_query(name).columns)
    if name not in ("synthetic_vs_real", "unit_dissection"):
        assert result.rows
    again = index.query(name, **values)
    assert again == result


@pytest.mark.parametrize("name", query_names())
def test_a_file_is_one_select_that_uses_every_parameter(name: str) -> None:
    query = load_query(name)
    text = (query_folder() / f"{name}.sql").read_text()
    assert text.endswith("\n")
    assert all(len(line) <= 100 for line in text.splitlines())
    assert ";" not in query.sql
    assert query.sql.startswith(("SELECT", "WITH"))
    assert "ORDER BY" in query.sql
    used = set(re.findall(r"\$(\w+)", query.sql))
    bound = {each.name for each in query.parameters if each.kind != "index"}
    assert used == bound
    for each in query.parameters:
        if each.kind == "index":
            assert f"{each.name}." in query.sql
        assert not each.about.endswith(".")
    assert query.purpose.endswith(".")


@pytest.mark.parametrize("name", query_names())
def test_a_description_says_it_all(name: str) -> None:
    query, text = load_query(name), describe_query(load_query(name))
    for word in (query.purpose, query.sql, *(column.about for column in query.columns)):
        assert word in text
    assert all(each.name in query.signature for each in query.parameters)


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("-- Purpose.\n--\n-- Parameters\n--   $a: shoe  a\n-- Columns\n--   b   b", "shoe"),
        ("-- Purpose.\n-- Columns\n--   b", "expected `column  about`"),
        ("-- Purpose.", "needs a purpose"),
    ],
)
def test_a_header_of_another_form_is_refused(header: str, words: str) -> None:
    with pytest.raises(QueryError, match=words):
        parse_query("odd", f"{header}\nSELECT 1 AS b")


def test_an_installation_without_queries_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("pipeline.__file__", str(tmp_path / "a" / "__init__.py"))
    with pytest.raises(QueryError, match="installation is incomplete"):
        query_folder()
