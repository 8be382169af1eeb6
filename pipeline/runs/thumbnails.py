"""Thumbnails of all listed images, kept in the index, so that sheets can be drawn without the dataset.

A thumbnail shows what the network was shown of an image: the input's area of the original, not the
resized copy. They are written once the tables are, and change nothing in them.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from PIL import Image

from pipeline.data.content import byte_digest
from pipeline.data.dataset import Dataset
from pipeline.errors import BadImage, SourceError
from pipeline.images.decode import open_original
from pipeline.images.preprocess import Box, Preprocess
from pipeline.progress import Reporter
from pipeline.store.schemas import THUMBNAILS
from pipeline.store.tables import write_table

__all__ = ["THUMBNAIL_SIDE", "draw_thumbnail", "write_thumbnails"]

THUMBNAIL_SIDE = 256
"""Longest side in pixels, unless the network's input is larger: then that of the input."""

QUALITY = 90
"""Of JPEG; a thumbnail of 256 pixels takes about 20 kB."""

_ROWS = 256
"""Thumbnails that are in memory together, and in one row group."""

_COLUMNS = ["image_id", "shard", "key", "offset", "bytes", "digest"]


def write_thumbnails(
    out: Path,
    dataset: Dataset,
    preprocess: Preprocess,
    *,
    footer: Mapping[str, str],
    workers: int | None,
    reporter: Reporter,
) -> None:
    """Write thumbnails.parquet: one row for each image on a list of highest activations.

    Args:
        out: folder with the final tables.
        dataset: that was indexed.
        preprocess: of the network.
        footer: metadata of the file.
        workers: threads; None for one per core.
        reporter: shows the progress.

    Images that cannot be read any more have none.

    Raises:
        StoreError: when the table cannot be written.
    """
    listed = _listed(out / "top.parquet")
    with (
        reporter.task("keeping patches", len(listed), "images") as task,
        ThreadPoolExecutor(workers or os.cpu_count() or 1) as pool,
    ):

        def batches() -> Iterator[pa.Table]:
            places_left = _places(out / "images.parquet", listed)
            while places := list(islice(places_left, _ROWS)):
                drawn = pool.map(lambda place: _row(dataset, place, preprocess), places)
                rows = [row for row in drawn if row is not None]
                task.advance(len(places))
                yield pa.Table.from_pylist(rows, schema=THUMBNAILS)

        path = out / "thumbnails.parquet"
        write_table(path, THUMBNAILS, batches(), metadata=footer, row_group_rows=_ROWS)


def draw_thumbnail(data: bytes, preprocess: Preprocess) -> tuple[int, int, bytes]:
    """Width, height and JPEG of what a network is shown of an encoded image.

    Raises:
        BadImage: if it cannot be decoded.
    """
    photograph = open_original(data)
    width, height = photograph.size
    box = preprocess.to_original(Box(0, 0, preprocess.width, preprocess.height), width, height)
    left, top = max(0.0, box.left), max(0.0, box.top)
    right, bottom = min(float(width), box.right), min(float(height), box.bottom)
    side = max(THUMBNAIL_SIDE, preprocess.width, preprocess.height)
    scale = min(1.0, side / max(right - left, bottom - top))
    size = max(1, round((right - left) * scale)), max(1, round((bottom - top) * scale))
    small = photograph.resize(size, Image.Resampling.LANCZOS, box=(left, top, right, bottom))
    stream = io.BytesIO()
    small.save(stream, "JPEG", quality=QUALITY, subsampling=0)
    return (*size, stream.getvalue())


def _listed(path: Path) -> pa.Array:
    """image_ids on lists of highest activations, rising."""
    found = [
        pc.unique(batch.column("image_id").filter(pc.equal(batch.column("side").cast(pa.string()), "high")))
        for batch in pq.ParquetFile(path).iter_batches(columns=["side", "image_id"])
    ]
    ids = pc.unique(pa.chunked_array(found, pa.int64()))
    return ids.take(pc.sort_indices(ids))


def _places(path: Path, listed: pa.Array) -> Iterator[dict[str, Any]]:
    """The rows of images that are listed, in rising order."""
    for batch in pq.ParquetFile(path).iter_batches(columns=_COLUMNS):
        yield from batch.filter(pc.is_in(batch.column("image_id"), listed)).to_pylist()


def _row(dataset: Dataset, place: Mapping[str, Any], preprocess: Preprocess) -> dict[str, Any] | None:
    try:
        data = dataset.read(place["shard"], place["key"], place["offset"], place["bytes"])
        if byte_digest(data) != place["digest"]:
            return None
        width, height, jpeg = draw_thumbnail(data, preprocess)
    except (SourceError, BadImage):
        return None
    return {"image_id": place["image_id"], "width": width, "height": height, "jpeg": jpeg}
