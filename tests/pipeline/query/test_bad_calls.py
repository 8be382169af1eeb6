"""Every public method of an index, given what it cannot use: a MaxactError of one line, whatever it is."""

from __future__ import annotations

import inspect
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import MaxactError, QueryError, StoreError
from pipeline.query.index import Index, open_index
from pipeline.query.safe import Limits
from tests.fixtures.small_index import build_index

BAD: tuple[Any, ...] = (
    *(None, True, -1, 10**30, 1.5, float("nan"), b"x", object(), Path("/etc")),
    *("", "nope", "\ud800", "\0", "1-", "*", "[", "9" * 5000),
    *([], [None], ["nope"], [10**30], {"a": 1}, {1}),
)

GOOD = {
    "layer": "blocks.1",
    "unit": 1,
    "name": "stem",
    "text": "1",
    "image_id": 0,
    "image_ids": [0],
    "weights": {("blocks.1", 1): 2.0},
    "label": "disc",
}
"""A value for each argument that has no default."""

SPECIAL = {
    "sql": {"text": "SELECT 1"},
    "query": {"name": "layer_overview"},
    "first_rows": {"text": "SELECT 1", "count": 1, "params": {}},
}

METHODS = sorted(
    name for name, _ in inspect.getmembers(Index, inspect.isfunction) if not name.startswith("_")
)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_index(tmp_path_factory.mktemp("small"), keep_peaks=True)


@pytest.fixture(scope="module")
def index(out: Path) -> Iterator[Index]:
    with open_index(out) as index:
        yield index


def parameters(name: str) -> list[inspect.Parameter]:
    return list(inspect.signature(getattr(Index, name)).parameters.values())[1:]


def call(index: Index, method: str, /, **changes: Any) -> None:
    """Call a method, with good values where it needs some; what it iterates is read."""
    needed = [
        each for each in parameters(method) if each.default is each.empty and each.kind != each.VAR_KEYWORD
    ]
    good = {**GOOD, "out": index.out, **SPECIAL.get(method, {})}
    values = [changes.pop(each.name, good.get(each.name)) for each in needed]
    result = getattr(index, method)(*values, **changes)
    if inspect.isgenerator(result):
        list(result)


def message(attempt: Callable[[], object]) -> str:
    """What a MaxactError says; nothing where there is none. Any other exception is one of the test."""
    try:
        attempt()
    except MaxactError as error:
        return str(error) or "\n"
    return ""


def refused_or_fine(index: Index, method: str, /, **changes: Any) -> None:
    assert "\n" not in message(lambda: call(index, method, **changes))


@pytest.mark.parametrize("name", [name for name in METHODS if name != "close"])
def test_a_bad_value_is_a_maxact_error(index: Index, name: str) -> None:
    for parameter in parameters(name):
        for value in BAD:
            if parameter.kind != parameter.VAR_KEYWORD:
                refused_or_fine(index, name, **{parameter.name: value})
            elif name == "sql":
                refused_or_fine(index, name, text="SELECT $x", x=value)
            else:
                refused_or_fine(index, name, name="unit_card", layer="stem", unit=value)
                refused_or_fine(index, name, name="unit_card", **{"no such": value})


@pytest.mark.parametrize("name", [name for name in METHODS if name != "close"])
def test_the_good_values_are_good(index: Index, name: str) -> None:
    """So that the tests around it call what they mean to."""
    call(index, name)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("top", {"layer": 5}),
        ("top", {"n": -1}),
        ("top", {"n": "2"}),
        ("top", {"side": "sideways"}),
        ("unit_count", {"layer": None}),
        ("choose", {"layers": 7}),
        ("choose", {"layers": [None]}),
        ("iterate_bytes", {"image_ids": 3}),
        ("iterate_bytes", {"image_ids": ["x"]}),
        ("image_bytes", {"image_id": 1 << 40}),
        ("query", {"name": None}),
        ("sql", {"text": b"SELECT 1"}),
        ("sql", {"text": "SELECT nothing"}),
        ("sql", {"text": "SELEC 1"}),
        ("sql", {"text": "SELECT 1 / 0 + 'x'::int"}),
        ("sql", {"text": "SELECT $absent"}),
        ("sql", {"text": "SELECT 'a\ud800'"}),
    ],
)
def test_what_must_be_refused(index: Index, name: str, value: dict[str, Any]) -> None:
    with pytest.raises(MaxactError) as caught:
        call(index, name, **value)
    assert "\n" not in str(caught.value)


def test_layers_may_come_from_any_iterable(index: Index) -> None:
    wanted = index.choose(["stem", "head"], "0")
    assert index.choose({"stem", "head"}, "0") == wanted
    assert index.choose((name for name in ("stem", "head")), "0") == wanted


def test_a_closed_index_says_so_at_every_method(out: Path) -> None:
    index = open_index(out)
    index.close()
    index.close()
    for name in METHODS:
        if name != "close":
            refused_or_fine(index, name)
    for read in (index.sql, index.query):
        with pytest.raises(QueryError, match=r"(?i)closed"):
            read("SELECT 1" if read == index.sql else "layer_overview")
    with pytest.raises(QueryError, match=r"(?i)closed"):
        index.top("stem", 0)
    with pytest.raises(QueryError, match=r"(?i)closed"):
        _ = index.layers


@pytest.mark.parametrize("value", BAD, ids=range(len(BAD)))
def test_opening_with_bad_values(out: Path, value: Any) -> None:
    def open_and_list(data: Any) -> None:
        with open_index(out, data=data) as index:
            _ = index.dataset

    attempts: list[Callable[[], object]] = [
        lambda: open_index(value).close(),
        lambda: open_index(out, timeout=value).close(),
        lambda: open_index(out, limits=value).close(),
        lambda: open_and_list(value),
        *(lambda name=name: Limits(**{name: value}) for name in ("memory_mb", "threads", "seconds", "rows")),
    ]
    for attempt in attempts:
        assert "\n" not in message(attempt)


def test_a_table_that_lacks_a_column_is_named_when_the_index_is_opened(out: Path, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    folder = tmp_path / "index"
    shutil.copytree(out, folder)
    pq.write_table(
        pq.read_table(folder / "images.parquet").drop_columns(["width"]), folder / "images.parquet"
    )
    with pytest.raises(StoreError) as caught:
        open_index(folder)
    assert "width" in str(caught.value)
    assert "\n" not in str(caught.value)
