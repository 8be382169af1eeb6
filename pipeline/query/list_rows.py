"""Lists of units from the table `top`, without a scan: only the row groups that hold them are decoded.

DuckDB reads the table's footer for each query, which has a row group for every 100,000 rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.choices import Side
from pipeline.query.row_groups import RowGroups

__all__ = ["ListRows", "ListedRow"]

_KEPT = 8
"""Row groups in memory: of the 100,000 rows that maxact writes, some 4 MB each."""

_COLUMNS = ("layer", "unit", "side", "rank", "activation", "image_id", "y", "x")


@dataclass(frozen=True, slots=True)
class ListedRow:
    """One row of `top`; see docs/tables.md."""

    rank: int
    activation: float
    image_id: int
    y: int
    x: int


class ListRows:
    """Looks up lists in a Parquet file whose rows of a layer are sorted by unit.

    Args:
        path: of the table.

    Raises:
        DamagedFile: when it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._groups = RowGroups(path, _KEPT)
        layers, units = self._groups.bounds("layer"), self._groups.bounds("unit")
        self._bounds = list(zip(self._groups.numbers, layers, units, strict=True))
        self._parts: dict[int, dict[str, tuple[int, int]]] = {}

    def read(self, layer: str, unit: int, side: Side, n: int) -> list[ListedRow]:
        """The first `n` rows of a unit's list, strongest first; fewer where the list is shorter.

        Raises:
            DamagedFile: when the table cannot be read.
        """
        rows = [
            row for number in self._holding(layer, unit) for row in self._rows(number, layer, unit, side, n)
        ]
        return sorted(rows, key=lambda row: row.rank)

    def close(self) -> None:
        """Close the file."""
        self._groups.close()

    def _holding(self, layer: str, unit: int) -> Iterator[int]:
        """The row groups that may have rows of the unit."""
        for number, layers, units in self._bounds:
            if not (layers[0] <= layer <= layers[1] and units[0] <= unit <= units[1]):
                continue
            if layers[0] != layers[1]:
                first, last = self._units_of(number).get(layer, (0, -1))
                if not first <= unit <= last:
                    continue
            yield number

    def _units_of(self, number: int) -> dict[str, tuple[int, int]]:
        """Of a row group with several layers, the first and the last unit of each."""
        if number not in self._parts:
            table = self._groups.read(number, ("layer", "unit"))
            units, found = _values(table["unit"]), {}
            for layer in table["layer"].combine_chunks().dictionary.to_pylist():
                first, last = _bounds_of(_codes(table["layer"], layer))
                if last > first:
                    found[layer] = (int(units[first]), int(units[last - 1]))
            self._parts[number] = found
        return self._parts[number]

    def _rows(self, number: int, layer: str, unit: int, side: Side, n: int) -> Iterator[ListedRow]:
        table = self._groups.read(number, _COLUMNS)
        first, last = _bounds_of(_codes(table["layer"], layer))
        units = _values(table["unit"])[first:last]
        first, last = first + np.searchsorted(units, (unit, unit + 1))
        mine = table.slice(first, last - first)
        wanted = _codes(mine["side"], side) & (_values(mine["rank"]) <= n)
        columns = [_values(mine[name])[wanted].tolist() for name in _COLUMNS[3:]]
        yield from (ListedRow(*values) for values in zip(*columns, strict=True))


def _values(column: pa.ChunkedArray) -> npt.NDArray[Any]:
    """Numbers without nulls, without a copy."""
    return _buffer(column.combine_chunks())


def _buffer(chunk: pa.Array) -> npt.NDArray[Any]:
    """As `Array.to_numpy`, which imports pandas where that is installed: longer than all else."""
    kind = {pa.int32(): np.int32, pa.int64(): np.int64, pa.float32(): np.float32}[chunk.type]
    if not len(chunk):
        return np.empty(0, kind)
    return np.frombuffer(chunk.buffers()[1], kind)[chunk.offset : chunk.offset + len(chunk)]


def _codes(column: pa.ChunkedArray, word: str) -> npt.NDArray[np.bool_]:
    """Where a column of words, a dictionary, has one word."""
    chunk = column.combine_chunks()
    words = chunk.dictionary.to_pylist()
    code = words.index(word) if word in words else -1
    found: npt.NDArray[np.bool_] = _buffer(chunk.indices) == code
    return found


def _bounds_of(mask: npt.NDArray[np.bool_]) -> tuple[int, int]:
    """The first row and the one after the last where a mask is true; all between them are."""
    if not mask.any():
        return 0, 0
    return int(mask.argmax()), int(len(mask) - mask[::-1].argmax())
