"""Writes the tables of images, predictions and errors from the committed parts.

They are as large as the dataset, so rows are streamed shard by shard, and duplicates are marked as they come
(see `pipeline.runs.duplicates`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from pipeline.image_id import POSITION_BITS
from pipeline.runs.duplicates import Duplicates, find_duplicates
from pipeline.runs.label_names import rename_column
from pipeline.runs.part_rows import in_order
from pipeline.runs.predictions import Classifier
from pipeline.runs.top_labels import ImageLabels
from pipeline.state.commit import Commit
from pipeline.state.part import ShardRecord
from pipeline.store import tables as store
from pipeline.store.digests import FileDigest
from pipeline.store.schemas import ERRORS, IMAGES, PREDICTIONS

__all__ = ["IMAGES_ROW_GROUP", "write_records"]

_PREDICTED = ("image_id", "label", "classes", "scores", "probabilities")
"""Columns of a part's images of which `predictions` is made."""

IMAGES_ROW_GROUP = 1 << 13
"""Rows of a row group of `images`: a query for a few of them decodes no more of each that has one."""


def write_records(
    out: Path,
    commits: Sequence[Commit],
    shards: Sequence[ShardRecord],
    footer: Mapping[str, str],
    names: Mapping[str, str],
    classifier: Classifier | None,
    labels: ImageLabels,
    advance: Callable[[int], object] = int,
) -> dict[str, FileDigest]:
    """Write the tables of images, predictions and errors: renumbered, sorted, with duplicates marked.

    Args:
        out: folder of the index.
        commits: of disjoint shards.
        shards: of all commits, sorted by name; their places are the ordinals.
        footer: metadata of the files.
        names: of labels, where they are to be renamed; otherwise empty.
        classifier: gives the rows of `predictions`; None for none.
        labels: to which the labels of all images are added.
        advance: called with the number of images that were written.

    Returns:
        The digest of each table.

    Raises:
        StoreError: when a table cannot be read or written.
    """

    def images(duplicates: Duplicates) -> Iterator[pa.Table]:
        for ordinal, table in in_order(commits, shards, "images", IMAGES.names):
            numbered = duplicates.mark(_number(table, ordinal))
            numbered = rename_column(numbered, names) if names else numbered
            labels.add(numbered)
            yield numbered
            advance(numbered.num_rows)

    def predictions() -> Iterator[pa.Table]:
        if classifier is not None:
            for ordinal, table in in_order(commits, shards, "images", _PREDICTED):
                yield classifier.rows(_number(table, ordinal))

    with find_duplicates(out, commits, shards) as duplicates:
        of_images = store.write_table(
            out / "images.parquet",
            IMAGES,
            images(duplicates),
            metadata=footer,
            row_group_rows=IMAGES_ROW_GROUP,
        )
    errors = (table for _, table in in_order(commits, shards, "errors", ERRORS.names))
    return {
        "images": of_images,
        "errors": store.write_table(out / "errors.parquet", ERRORS, errors, metadata=footer),
        "predictions": store.write_table(
            out / "predictions.parquet", PREDICTIONS, predictions(), metadata=footer
        ),
    }


def _number(images: pa.Table, ordinal: int) -> pa.Table:
    """One shard's images with their image_id in the dataset."""
    ids = images["image_id"].to_numpy() & ((1 << POSITION_BITS) - 1) | ordinal << POSITION_BITS
    return images.set_column(images.column_names.index("image_id"), "image_id", pa.array(ids))
