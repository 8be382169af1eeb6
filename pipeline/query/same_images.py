"""Whether two indexes are of one dataset, so that their image numbers are those of the same images."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pipeline.errors import StoreError

__all__ = ["IMAGES_DIGEST", "refuse_other_images"]

IMAGES_DIGEST = """
SELECT count(*) AS images, bit_xor(hash(image_id, key)) AS digest FROM "{schema}".images
"""
"""Number and digest of the images of a schema: indexes of one dataset have the same."""


def refuse_other_images(
    out: Path, images: Mapping[str, int], other: Path, other_images: Mapping[str, int]
) -> None:
    """Refuse to compare indexes of different datasets.

    Args:
        out, other: folders of both.
        images, other_images: the row of `IMAGES_DIGEST` of each.

    Raises:
        StoreError: when the rows differ.
    """
    if images != other_images:
        raise StoreError(
            f"{other} and {out} are indexes of different datasets ({other_images['images']:,} and "
            f"{images['images']:,} images); only indexes of one dataset can be compared"
        )
