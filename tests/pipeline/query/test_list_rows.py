"""Lists of units by row groups, from tables of any division."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import DamagedFile
from pipeline.query.list_rows import ListedRow, ListRows
from pipeline.store.schemas import TOP
from pipeline.store.tables import write_table

LAYERS = ("early", "b.late", "a.last")
"""In the order of the network, which is not that of the alphabet."""


def rows_of(lengths: dict[tuple[str, int, str], int]) -> list[dict[str, object]]:
    return [
        {
            "layer": layer,
            "unit": unit,
            "side": side,
            "rank": rank + 1,
            "activation": 9.5 - rank,
            "image_id": unit * 10 + rank,
            "y": rank,
            "x": unit,
        }
        for layer in LAYERS
        for unit in range(5)
        for side in ("high", "low")
        for rank in range(lengths.get((layer, unit, side), 0))
    ]


@given(
    st.dictionaries(
        st.tuples(st.sampled_from(LAYERS), st.integers(0, 4), st.sampled_from(("high", "low"))),
        st.integers(0, 4),
    ),
    st.integers(1, 9),
    st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_they_are_those_of_the_table(
    tmp_path_factory: pytest.TempPathFactory,
    lengths: dict[tuple[str, int, str], int],
    group: int,
    statistics: bool,
) -> None:
    path = tmp_path_factory.mktemp("rows") / "top.parquet"
    table = pa.Table.from_pylist(rows_of(lengths), TOP)
    if statistics:
        write_table(path, TOP, [table], row_group_rows=group)
    else:
        pq.write_table(table, path, row_group_size=group, write_statistics=False)
    lists = ListRows(path)
    for layer in (*LAYERS, "other"):
        for unit in range(-1, 6):
            for side in ("high", "low"):
                count = lengths.get((layer, unit, side), 0)
                wanted = [
                    ListedRow(rank + 1, 9.5 - rank, unit * 10 + rank, rank, unit)
                    for rank in range(min(count, 3))
                ]
                assert lists.read(layer, unit, side, 3) == wanted
    lists.close()


def test_a_file_that_is_no_table(tmp_path: Path) -> None:
    (tmp_path / "top.parquet").write_bytes(b"PAR1 no PAR1")
    with pytest.raises(DamagedFile, match="cannot be read"):
        ListRows(tmp_path / "top.parquet")
