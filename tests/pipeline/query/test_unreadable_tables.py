"""A table that cannot be read is named, with what to do, whatever is wrong with it and whoever reads it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import DamagedFile, QueryError, StoreError
from pipeline.query.index import open_index
from pipeline.query.safe import Limits
from pipeline.store.digests import digest_file
from pipeline.store.final_tables import record_tables
from pipeline.store.run_file import write_run
from pipeline.store.schemas import RENDERS, SCHEMAS
from tests.fixtures.small_index import build_index

REPAIR = "`maxact repair {out}` rebuilds it from the parts"
NAMED = "`maxact repair {out}` writes names from labels again"


def footer_bytes(data: bytes) -> int:
    return int.from_bytes(data[-8:-4], "little") + 8


def halve(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def blank_footer(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: -footer_bytes(data)] + bytes(footer_bytes(data)))


def flip_columns(path: Path) -> None:
    data = bytearray(path.read_bytes())
    for place in range(8, len(data) - footer_bytes(data), 5):
        data[place] ^= 0x55
    path.write_bytes(data)


def clear(path: Path) -> None:
    path.write_bytes(b"")


def write_text(path: Path) -> None:
    path.write_text("not a table")


def write_other_columns(path: Path) -> None:
    pq.write_table(pa.table({"other": [1, 2]}), path)


DAMAGES = [halve, blank_footer, flip_columns, clear, write_text, write_other_columns]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index without digests, as of an earlier version."""
    return build_index(tmp_path_factory.mktemp("small"))


@pytest.fixture
def copy(small: Path, tmp_path: Path) -> Path:
    return shutil.copytree(small, tmp_path / "out")


def said(call: Callable[[], object]) -> str:
    with pytest.raises(StoreError) as found:
        call()
    assert found.value.exit_code == 1
    assert "\n" not in str(found.value)
    return str(found.value)


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("table", ["images", "top", "units", "layers", "classes"])
def test_tables_of_an_index_without_digests(copy: Path, table: str, damage: Callable[[Path], None]) -> None:
    damage(copy / f"{table}.parquet")

    def read(limits: Limits | None = None) -> None:
        with open_index(copy, limits=limits) as index:
            index.sql(f"SELECT * FROM {table}")

    for limits in (None, Limits()):
        text = said(lambda limits=limits: read(limits))  # type: ignore[misc]
        assert text.startswith(f"{copy / table}.parquet cannot be read (")
        assert text.endswith(REPAIR.format(out=copy))


@pytest.mark.parametrize("table", ["images", "top"])
def test_rows_that_are_looked_up_without_sql(copy: Path, table: str) -> None:
    flip_columns(copy / f"{table}.parquet")
    with open_index(copy) as index:
        text = said(lambda: index.top("stem", 0))
    assert text.startswith(f"{copy / table}.parquet cannot be read (")
    assert text.endswith(REPAIR.format(out=copy))


def test_damage_that_is_not_in_the_end_of_a_table(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.store.digests.TAIL_BYTES", 64)
    tables = record_tables({name: digest_file(copy / f"{name}.parquet") for name in SCHEMAS})
    write_run(copy, {**json.loads((copy / "run.json").read_text()), "tables": tables})
    flip_columns(copy / "units.parquet")
    with open_index(copy) as index:
        text = said(lambda: index.sql("SELECT * FROM units"))
        assert index.top("stem", 0)
    assert text == (
        f"{copy / 'units.parquet'} was changed after it was written (its SHA-256 differs); "
        + REPAIR.format(out=copy)
    )


@pytest.mark.parametrize("damage", [each for each in DAMAGES if each is not write_other_columns])
def test_damaged_names_end_the_queries_that_read_them_and_no_others(
    copy: Path, damage: Callable[[Path], None]
) -> None:
    damage(copy / "names.parquet")
    reading = (
        "SELECT * FROM names",
        "SELECT count(*) FROM names WHERE layer = 'stem' AND length(concept) > 0",
        "SELECT units.unit, concept FROM units LEFT JOIN names USING (layer, unit)",
    )
    for limits in (None, Limits()):
        with open_index(copy, limits=limits) as index:
            assert index.top("stem", 0)
            assert index.sql("SELECT count(*) FROM units").rows[0][0] > 0
            for text in reading:
                problem = said(lambda index=index, text=text: index.sql(text))  # type: ignore[misc]
                assert problem.startswith(f"{copy / 'names.parquet'} cannot be read (")
                assert problem.endswith(NAMED.format(out=copy))


def test_names_of_another_program_are_no_names(copy: Path) -> None:
    write_other_columns(copy / "names.parquet")
    with open_index(copy) as index:
        assert index.sql("SELECT layer, unit, concept FROM names").rows == []


@pytest.mark.parametrize(
    ("table", "remedy"),
    [
        ("embeddings", "delete it and write it again with `maxact name`"),
        ("semantics", "delete it and write it again with `maxact name`"),
        ("dissection", "delete it and write it again with `maxact dissect`"),
        ("thumbnails", "delete it and write it again with `maxact index --keep patches`"),
    ],
)
def test_tables_that_are_made_from_an_index_are_made_again(copy: Path, table: str, remedy: str) -> None:
    (copy / f"{table}.parquet").write_bytes(b"PAR1 and then nothing")
    with open_index(copy) as index:
        text = said(lambda: index.first_rows(f"SELECT count(*) FROM {table}", 1, {}))
    assert text == f"{copy / table}.parquet cannot be read (it is damaged); {remedy}"


def test_renderings_of_earlier_versions_are_read_and_other_columns_are_not(copy: Path) -> None:
    path = copy / "renders.parquet"
    for count in (len(RENDERS), len(RENDERS) - 3, len(RENDERS) - 5):
        pq.write_table(pa.schema(list(RENDERS)[:count]).empty_table(), path)
        with open_index(copy) as index:
            assert index.sql("SELECT path, path_version FROM renders").rows == []
    write_other_columns(path)
    remedy = "move it elsewhere and render again; the index is not changed"
    assert said(lambda: open_index(copy)) == f"{path} cannot be read (it has no column layer); {remedy}"
    pq.write_table(RENDERS.empty_table().drop_columns(["unit"]), path)
    assert said(lambda: open_index(copy)) == f"{path} cannot be read (it has no column unit); {remedy}"


def test_a_second_index_is_named_where_its_table_is_damaged(copy: Path, small: Path) -> None:
    flip_columns(copy / "units.parquet")
    with open_index(small) as index:
        index.attach("other", copy)
        text = said(lambda: index.sql("SELECT * FROM other.units"))
    assert text.startswith(f"{copy / 'units.parquet'} cannot be read (")


def test_columns_of_another_type(copy: Path) -> None:
    table = pq.read_table(copy / "images.parquet")
    wide = table.set_column(table.column_names.index("width"), "width", pa.array([["x"]] * len(table)))
    pq.write_table(wide, copy / "images.parquet")
    text = said(lambda: open_index(copy))
    assert text.startswith(f"{copy}: its tables cannot be opened: Binder Error")
    assert text.endswith(f"`maxact repair {copy}` rebuilds them from the parts")


@pytest.mark.parametrize("at", ["index", "second_index"])
def test_a_read_that_fails_while_the_view_of_peaks_is_created(
    at: str, small: Path, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise duckdb.IOException("IO Error: Could not read from file: Input/output error\n\nLINE 2: SELECT")

    with open_index(small) as index:
        monkeypatch.setattr(f"pipeline.query.{at}.create_no_peaks", fail)
        text = said(lambda: open_index(copy) if at == "index" else index.attach("other", copy))
    assert text.startswith(f"{copy}: its tables cannot be opened: IO Error: Could not read from file")
    assert "\n" not in text


def test_an_error_of_a_statement_stays_one(copy: Path, tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.parquet"
    pq.write_table(pa.table({"other": list(range(1000))}), foreign)
    flip_columns(foreign)
    with open_index(copy) as index:
        for text, words in (
            ("SELECT nothing FROM units", "nothing"),
            ("SELECT error('a.parquet cannot be read (no)')", "a.parquet cannot be read"),
            ("SELECT 'x'::INTEGER", "Conversion"),
            (f"SELECT * FROM read_parquet('{foreign}')", "."),
        ):
            with pytest.raises(QueryError, match=words) as found:
                index.sql(text)
            assert not isinstance(found.value, DamagedFile)
        assert isinstance(found.value.__cause__, duckdb.Error)


def test_a_missing_table_is_named(copy: Path) -> None:
    run = json.loads((copy / "run.json").read_text())
    assert "tables" not in run
    (copy / "units.parquet").unlink()
    assert said(lambda: open_index(copy)) == (
        f"{copy / 'units.parquet'} is missing; {REPAIR.format(out=copy)}"
    )
