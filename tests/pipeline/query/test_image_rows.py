"""Rows of images by number, from tables of any division into row groups."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import DamagedFile
from pipeline.query.image_rows import ImageRows
from pipeline.store.schemas import IMAGES
from pipeline.store.tables import write_table


def table(ids: list[int]) -> pa.Table:
    rows = [{"image_id": number, "key": f"k{number}", "width": number % 7} for number in ids]
    return pa.Table.from_pylist(rows, IMAGES)


@given(
    st.sets(st.integers(0, 60), max_size=40),
    st.lists(st.integers(-2, 62), max_size=12),
    st.integers(1, 12),
)
@settings(max_examples=60, deadline=None)
def test_they_are_those_of_the_table(
    tmp_path_factory: pytest.TempPathFactory, ids: set[int], asked: list[int], group: int
) -> None:
    path = tmp_path_factory.mktemp("rows") / "images.parquet"
    write_table(path, IMAGES, [table(sorted(ids))], row_group_rows=group)
    rows = ImageRows(path)
    found = rows.read(asked, ("key", "width"))
    assert found == {number: (f"k{number}", number % 7) for number in asked if number in ids}
    rows.close()


def test_a_table_without_statistics(tmp_path: Path) -> None:
    pq.write_table(table([3, 5, 8, 9]), tmp_path / "images.parquet", row_group_size=2, write_statistics=False)
    assert ImageRows(tmp_path / "images.parquet").read([8, 3], ("key",)) == {8: ("k8",), 3: ("k3",)}


def test_a_file_that_is_no_table(tmp_path: Path) -> None:
    (tmp_path / "images.parquet").write_bytes(b"PAR1 no PAR1")
    with pytest.raises(DamagedFile, match="cannot be read"):
        ImageRows(tmp_path / "images.parquet")
    with pytest.raises(DamagedFile, match="cannot be read"):
        ImageRows(tmp_path / "missing.parquet")
