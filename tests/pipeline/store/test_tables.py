"""Tables are written in row groups of one size and read back bit by bit, or refused in one line."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.errors import StoreError
from pipeline.store.digests import digest_file
from pipeline.store.schemas import SCHEMA_VERSION
from pipeline.store.seals import PARQUET_KEY
from pipeline.store.table_files import TableFile
from pipeline.store.tables import TableWriter, read_sealed_table, read_table, write_table, writing_table

SCHEMA = pa.schema([("unit", pa.int32()), ("value", pa.float32())])


def rows(first: int, last: int) -> pa.Table:
    """Rows whose unit is a third of their number."""
    numbers = range(first, last)
    return pa.Table.from_pydict(
        {"unit": [n // 3 for n in numbers], "value": [n / 8 for n in numbers]}, SCHEMA
    )


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """23 rows in groups of 5."""
    path = tmp_path_factory.mktemp("table") / "t.parquet"
    write_table(path, SCHEMA, [rows(0, 23)], row_group_rows=5)
    return path


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(0, 12), max_size=6), st.integers(1, 8))
def test_row_groups_have_one_size_however_rows_come(tmp_path: Path, sizes: list[int], group: int) -> None:
    path = tmp_path / "t.parquet"
    ends = [sum(sizes[: number + 1]) for number in range(len(sizes))]
    batches = [rows(end - size, end) for size, end in zip(sizes, ends, strict=True)]
    batches[1:2] = batches[1:2] and batches[1].to_batches()  # a batch is taken as well as a table
    digest = write_table(path, SCHEMA, batches, metadata={"a": "b"}, row_group_rows=group)
    total = sum(sizes)
    metadata = pq.read_metadata(path)
    counts = [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]
    assert [count for count in counts if count] == [group] * (total // group) + [total % group] * (
        total % group > 0
    )
    assert read_table(path).equals(rows(0, total))
    assert metadata.metadata[b"a"] == b"b"
    assert metadata.metadata[b"maxact.schema_version"] == str(SCHEMA_VERSION).encode()
    assert digest == digest_file(path)


def test_sorted_numbers_and_floats_have_encodings_of_their_own(table: Path) -> None:
    columns = [pq.read_metadata(table).row_group(0).column(place) for place in (0, 1)]
    assert "DELTA_BINARY_PACKED" in columns[0].encodings
    assert "BYTE_STREAM_SPLIT" in columns[1].encodings
    assert {column.compression for column in columns} == {"ZSTD"}


def test_what_fails_leaves_no_table(tmp_path: Path) -> None:
    def fail(writer: TableWriter) -> None:
        writer.write(rows(0, 9))
        raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"), writing_table(tmp_path / "t.parquet", SCHEMA) as writer:
        fail(writer)
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_table_of_this_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"

    def refused(reason: str) -> None:
        for read in (read_table, TableFile):
            with pytest.raises(StoreError, match=reason):
                read(path)

    refused("is missing; run `maxact index`")
    pq.write_table(rows(0, 3), path)
    refused(f"has schema version none, this maxact reads {SCHEMA_VERSION}")
    write_table(path, SCHEMA, [], metadata={"maxact.schema_version": "0"})
    refused("has schema version 0")
    path.write_bytes(b"PAR1" + bytes(99))
    refused("cannot be read")


@pytest.mark.parametrize("first", [0, 1, 4, 5, 6, 9, 10, 22, 23, 30])
@pytest.mark.parametrize("size", [1, 3, 5, 7, 100])
def test_batches_begin_at_any_row(table: Path, first: int, size: int) -> None:
    with TableFile(table) as file:
        assert file.rows == 23
        batches = list(file.batches(None, size, first=first))
        columns = {tuple(batch.schema.names) for batch in file.batches(["value"], size, first=first)}
    assert all(0 < batch.num_rows <= size for batch in batches)
    found = pa.Table.from_batches(batches, SCHEMA) if batches else SCHEMA.empty_table()
    assert found.to_pydict() == rows(first, max(first, 23)).to_pydict()
    assert columns == ({("value",)} if batches else set())


@pytest.mark.parametrize("span", [slice(0, 1), slice(4, 5), slice(5, 10), slice(3, 21), slice(22, 23)])
def test_row_groups_of_a_span_of_rows(table: Path, span: slice) -> None:
    with TableFile(table) as file:
        found, first = file.rows_within(span, ["value"])
    assert first == span.start // 5 * 5
    assert found.equals(rows(first, min(23, -(-span.stop // 5) * 5)).select(["value"]))


def test_row_groups_of_values_are_all_that_may_hold_them(table: Path) -> None:
    groups = [{n // 3 for n in range(5 * group, min(5 * group + 5, 23))} for group in range(5)]
    with TableFile(table) as file:
        for first in range(9):
            for last in range(first + 1, 10):
                wanted = [number for number, units in enumerate(groups) if units & set(range(first, last))]
                assert list(file.groups_of("unit", slice(first, last))) == wanted


def test_beyond_the_last_row_there_is_nothing(table: Path, tmp_path: Path) -> None:
    descriptors = len(os.listdir("/proc/self/fd"))
    write_table(tmp_path / "none.parquet", SCHEMA, [])
    for path, span in ((table, slice(23, 30)), (tmp_path / "none.parquet", slice(0, 3))):
        with TableFile(path) as file:
            found, first = file.rows_within(span, ["unit"])
            assert (found.num_rows, first) == (0, 0)
    assert len(os.listdir("/proc/self/fd")) == descriptors


def test_a_table_carries_its_digest_only_if_it_is_sealed(tmp_path: Path) -> None:
    for sealed, options in ((False, {}), (True, {"sealed": True})):
        with writing_table(tmp_path / "t.parquet", SCHEMA, **options) as writer:
            writer.write(rows(0, 3))
        assert writer.digest == digest_file(tmp_path / "t.parquet")
        metadata = pq.read_metadata(tmp_path / "t.parquet").metadata
        assert (PARQUET_KEY.encode() in metadata) == sealed


def test_without_extremes_every_row_group_may_hold_a_value(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    schema = SCHEMA.with_metadata({"maxact.schema_version": str(SCHEMA_VERSION)})
    pq.write_table(rows(0, 23).cast(schema), path, row_group_size=5, write_statistics=False)
    with TableFile(path) as file:
        assert list(file.groups_of("unit", slice(3, 4))) == [0, 1, 2, 3, 4]
        assert file.read(["unit"], [1, 3])["unit"].to_pylist() == [
            n // 3 for n in (*range(5, 10), *range(15, 20))
        ]


def test_a_sealed_table_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "t.parquet").mkdir()
    with pytest.raises(StoreError, match=r"t\.parquet cannot be read: Is a directory"):
        read_sealed_table(tmp_path / "t.parquet", SCHEMA)
