"""Writes the patches of top images as files, cropped from the originals."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.choices import Side
from pipeline.errors import UsageError
from pipeline.file_names import file_name
from pipeline.images.preprocess import Box
from pipeline.progress import Reporter, Silent
from pipeline.query.index import Index, TopImage
from pipeline.store.files import atomic_path, make_folder

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["pixels_of", "save_patches"]


def save_patches(
    index: Index,
    images: Sequence[TopImage],
    folder: Path,
    *,
    side: Side = "high",
    reporter: Reporter | None = None,
) -> list[Path]:
    """Write the patch of each top image as a PNG, in the pixels of the original.

    A file is named by layer, unit, side and rank, such as `blocks.4.2-00017-high-001.png`; one that is
    there is replaced. Nothing of the dataset's text becomes part of a name.

    Args:
        index: open.
        images: from `Index.top`.
        folder: created if it does not exist.
        side: of the lists that the images are from.
        reporter: shown progress.

    Returns:
        The files, in the order of the images.

    Raises:
        SourceError: when the dataset has moved, or no longer has an image.
        StoreError: when an image can no longer be decoded, or a file cannot be written.
        UsageError: when the folder is a file.
    """
    from pipeline.images.decode import open_original
    from pipeline.query.indexed_images import read_images

    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file; give a folder for the patches")
    make_folder(folder)
    wanted: dict[int, list[TopImage]] = defaultdict(list)
    for image in images:
        wanted[image.image_id].append(image)
    digits = len(str(max((image.rank for image in images), default=1)))
    paths = {id(image): folder / _name(image, side, max(3, digits)) for image in images}
    with (reporter or Silent()).task("saving patches", len(images), "patches") as task:
        for image_id, photograph in read_images(index, wanted, open_original):
            for image in wanted[image_id]:
                _save(photograph.crop(pixels_of(image.box, *photograph.size)), paths[id(image)])
                task.advance()
    return [paths[id(image)] for image in images]


def pixels_of(box: Box, width: int, height: int) -> tuple[int, int, int, int]:
    """The pixels that a box touches: left, top, right, bottom; at least one, inside the image."""
    left, top = min(math.floor(box.left), width - 1), min(math.floor(box.top), height - 1)
    right, bottom = min(math.ceil(box.right), width), min(math.ceil(box.bottom), height)
    left, top = max(0, left), max(0, top)
    return left, top, max(left + 1, right), max(top + 1, bottom)


def _name(image: TopImage, side: Side, digits: int) -> str:
    return f"{file_name(image.layer)}-{image.unit:05}-{side}-{image.rank:0{digits}}.png"


def _save(patch: Image.Image, path: Path) -> None:
    with atomic_path(path) as temporary:
        patch.save(temporary, format="PNG")
