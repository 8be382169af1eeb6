"""The kept peaks of an index by layer, unit and image_id, in NumPy and as the view `peaks`.

Where an index keeps them, SQL has the view `peaks` (layer, unit, image_id, peak), of which only the units
and images are read that a query asks for, and the function `peak(layer, unit, image_id)`. Elsewhere both
are an error that says what to do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import QueryError, StoreError
from pipeline.query.literals import quote_name, quote_text
from pipeline.query.peak_matrix import keeps_peaks, open_matrix
from pipeline.store.peak_files import PEAKS_FILE
from pipeline.working_copies import pull

__all__ = ["KeptPeaks", "create_no_peaks", "create_peaks", "no_peaks"]

Floats = npt.NDArray[np.float32]

_CACHED_UNITS = 32
"""Units whose peaks stay in memory: 160 MB at 1.28 million images."""

_CACHED_IMAGES = 256

_VIEW = """
CREATE OR REPLACE VIEW {schema}.peaks AS
SELECT layer, unit, image_id, {function}(layer, unit, image_id) AS peak
FROM {schema}.units CROSS JOIN {schema}.images
"""

_NO_VIEW = """
CREATE OR REPLACE VIEW {schema}.peaks AS
SELECT layer, unit, image_id, 0::FLOAT AS peak FROM {schema}.units, {schema}.images WHERE error({text})
"""


def no_peaks(out: Path) -> str:
    """What is said where an index keeps no peaks but those of listed images."""
    return f"{out} keeps the peaks of listed images only; index again with --keep peaks"


class KeptPeaks:
    """The peaks of all images of an index.

    Args:
        out: folder of the index.
        run: content of its run.json.
        units: number of units of each layer, in forward order.

    Raises:
        StoreError: when the index keeps none.
        DamagedFile: when a file of a part is missing, or is not what it must be.
        UnreadableFile: when one cannot be read, which may pass.
    """

    def __init__(self, out: Path, run: Mapping[str, Any], units: Mapping[str, int]) -> None:
        self.out = out
        if not keeps_peaks(run):
            raise StoreError(no_peaks(out))
        pull(out, "parts/*.json", f"parts/*/{PEAKS_FILE}")
        self.matrix = open_matrix(out, run, sum(units.values()))
        starts = np.cumsum([0, *units.values()]).tolist()
        self.spans = {
            layer: slice(start, start + count)
            for (layer, count), start in zip(units.items(), starts, strict=False)
        }
        self._unit = lru_cache(_CACHED_UNITS)(self._read_unit)
        self._image = lru_cache(_CACHED_IMAGES)(self._read_image)

    @cached_property
    def image_ids(self) -> npt.NDArray[np.int64]:
        """(image,) the image_id of each row, rising.

        Raises:
            StoreError: when the table of images has others.
        """
        path = self.out / "images.parquet"
        try:
            ids: npt.NDArray[np.int64] = pq.read_table(path, columns=["image_id"])["image_id"].to_numpy()
        except (OSError, pa.ArrowException) as error:
            raise StoreError(f"{path} cannot be read: {str(error).splitlines()[0]}") from error
        if len(ids) != self.matrix.image_count or (np.diff(ids) <= 0).any():
            raise StoreError(f"{path} has other images than the parts; run `maxact repair {self.out}`")
        return ids

    def rows(self, image_ids: Sequence[int] | npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """(image,) the rows of images.

        Raises:
            QueryError: for an image that the index does not have.
        """
        wanted = np.asarray(image_ids, np.int64).reshape(-1)
        rows, known = self._find(wanted)
        if not known.all():
            raise QueryError(f"{self.out} has no image with image_id {int(wanted[~known][0])}")
        return rows

    def unit(self, layer: str, unit: int) -> Floats:
        """(image,) peaks of one unit over all images; not to be written into."""
        return self._unit(self.spans[layer].start + unit)

    def image(self, row: int) -> Floats:
        """(unit,) peaks of one image over the units of all layers; not to be written into."""
        return self._image(row)

    def activations(
        self, layer: str, units: Sequence[int], rows: npt.NDArray[np.int64] | None = None
    ) -> Floats:
        """(image, unit) peaks of some units of a layer over images, or all of them.

        Args:
            layer: of the index.
            units: numbers, of the layer.
            rows: of the images; None for all.
        """
        columns = np.asarray(units, np.int64) + self.spans[layer].start
        if rows is not None and len(rows) < len(columns):
            return np.ascontiguousarray(self.matrix.images(rows)[:, columns])
        count = self.matrix.image_count if rows is None else len(rows)
        found = np.empty((count, len(columns)), np.float32)
        for place, column in enumerate(columns.tolist()):
            peaks = self._unit(column)
            found[:, place] = peaks if rows is None else peaks[rows]
        return found

    def look_up(self, layers: pa.Array, units: pa.Array, image_ids: pa.Array) -> pa.Array:
        """The function `peak`: the peak of each (layer, unit, image_id), null where there is none."""
        encoded = layers.dictionary_encode() if not pa.types.is_dictionary(layers.type) else layers
        spans = [self.spans.get(str(name)) for name in encoded.dictionary.to_pylist()]
        starts = np.array([*(-1 if span is None else span.start for span in spans), -1])
        counts = np.array([*(0 if span is None else span.stop - span.start for span in spans), 0])
        layer = _integers(encoded.indices, len(spans))
        unit, wanted = _integers(units, -1), _integers(image_ids, -1)
        rows, known = self._find(wanted)
        known &= (unit >= 0) & (unit < counts[layer])
        columns, rows = (starts[layer] + unit)[known], rows[known]
        found = np.zeros(len(known), np.float32)
        found[known] = self._pairs(columns, rows)
        return pa.array(found, pa.float32(), mask=~known)

    def _pairs(self, columns: npt.NDArray[np.int64], rows: npt.NDArray[np.int64]) -> Floats:
        """(pair,) peaks, read by units or by images, whichever are fewer."""
        found = np.empty(len(columns), np.float32)
        different, column_of = np.unique(columns, return_inverse=True)
        images, image_of = np.unique(rows, return_inverse=True)
        if len(different) <= len(images):
            for place, column in enumerate(different.tolist()):
                chosen = column_of == place
                found[chosen] = self._unit(column)[rows[chosen]]
        else:
            for place, row in enumerate(images.tolist()):
                chosen = image_of == place
                found[chosen] = self._image(row)[columns[chosen]]
        return found

    def _find(self, wanted: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        """(image,) rows of images, and which of them there are."""
        ids = self.image_ids
        rows = np.searchsorted(ids, wanted)
        if not len(ids):
            return rows, np.zeros(len(wanted), np.bool_)
        return rows, ids[np.minimum(rows, len(ids) - 1)] == wanted

    def _read_unit(self, column: int) -> Floats:
        return np.asarray(self.matrix.units(slice(column, column + 1))[0], np.float32)

    def _read_image(self, row: int) -> Floats:
        return np.asarray(self.matrix.images(np.array([row], np.int64))[0], np.float32)


def _integers(values: pa.Array, missing: int) -> npt.NDArray[np.int64]:
    """An Arrow array of integers as int64, with a number in the place of null."""
    return np.asarray(values.fill_null(missing).to_numpy(zero_copy_only=False), np.int64)


def create_peaks(
    connection: duckdb.DuckDBPyConnection, kept: Callable[[], KeptPeaks], *, schema: str = "main"
) -> None:
    """Create the view `peaks` and the function `peak` of an index that keeps peaks.

    The connection must be closed in the end: DuckDB complains of a function that is left over.

    Args:
        connection: with the other views of the index.
        kept: opens the peaks, when a query needs them.
        schema: of the views; in another than `main` the function is called `SCHEMA_peak`.
    """
    function = "peak" if schema == "main" else f"{schema}_peak"

    def look_up(layers: Any, units: Any, image_ids: Any) -> Any:
        layers, units, image_ids = (
            each.combine_chunks() if isinstance(each, pa.ChunkedArray) else each
            for each in (layers, units, image_ids)
        )
        return kept().look_up(layers, units, image_ids)

    types = ["VARCHAR", "INTEGER", "BIGINT"]
    with_function: Any = connection
    with_function.create_function(function, look_up, types, "FLOAT", type="arrow", null_handling="special")
    connection.execute(_VIEW.format(schema=quote_name(schema), function=quote_name(function)))


def create_no_peaks(connection: duckdb.DuckDBPyConnection, out: Path, *, schema: str = "main") -> None:
    """Create a view `peaks` and a function `peak` that say what to do, for an index that keeps none."""
    text = quote_text(no_peaks(out))
    connection.execute(_NO_VIEW.format(schema=quote_name(schema), text=text))
    if schema == "main":
        macro = f"CREATE OR REPLACE MACRO peak(layer, unit, image_id) AS error({text})::FLOAT"
        connection.execute(macro)
