"""Segmentation masks as PNG files in a folder, called like the images that they belong to, or as a column.

In a folder, either every image has one PNG of numbers, palette or grey, and FOLDER/names.csv has the name of
each number; or each concept has a folder of its own, FOLDER/CONCEPT, with a PNG for each image that shows it,
in which everything but 0 is inside. The PNG of the image `a/b.jpg` is `a/b.png` or `a/b.jpg.png`. A column of
a dataset of Parquet files has an encoded PNG of numbers in the row of each image; a file names the numbers.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipeline.data.dataset import Dataset
from pipeline.data.parquet import ParquetShard
from pipeline.dissection.mask_files import find_mask, read_mask, read_names
from pipeline.errors import MissingSource, UsageError

__all__ = [
    "NAMES_FILE",
    "Marked",
    "MaskColumn",
    "MaskFolder",
    "MaskedImage",
    "Masks",
    "open_mask_column",
    "open_masks",
]

NAMES_FILE = "names.csv"


@dataclass(frozen=True, slots=True)
class MaskedImage:
    """An image of an index.

    Args:
        image_id: its number.
        key: its name.
        width, height: of the upright original.
        origin, digest: which decide its half.
        shard, offset: where it is in the dataset.
    """

    image_id: int
    key: str
    width: int
    height: int
    origin: str | None
    digest: int
    shard: str
    offset: int


@dataclass(frozen=True, slots=True)
class Marked:
    """What the mask of an image marks at some of its pixels.

    Args:
        concepts: (marked,) int64, the concepts that are marked at any of them, rising.
        inside: (marked, place) bool.
    """

    concepts: npt.NDArray[np.int64]
    inside: npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class MaskFolder:
    """Masks of images.

    Args:
        folder: of the masks.
        concepts: names, sorted.
        numbers: the concept of each number that has a name; None where concepts have folders.
    """

    folder: Path
    concepts: tuple[str, ...]
    numbers: Mapping[int, int] | None

    def __str__(self) -> str:
        """The folder."""
        return str(self.folder)

    def has(self, image: MaskedImage) -> bool:
        """Whether there is a mask of the image."""
        if self.numbers is not None:
            return find_mask(self.folder, image.key) is not None
        return any(find_mask(self.folder / concept, image.key) is not None for concept in self.concepts)

    def sample(
        self, image: MaskedImage, rows: npt.NDArray[np.int64], columns: npt.NDArray[np.int64]
    ) -> Marked:
        """What is marked at the crossings of some rows and columns of pixels.

        Args:
            image: that has a mask.
            rows, columns: of pixels.

        Raises:
            SourceError: when a mask cannot be read, or is of another size.
        """
        key, size = image.key, (image.width, image.height)
        if self.numbers is not None:
            path = find_mask(self.folder, key)
            assert path is not None
            return _of_numbers(read_mask(path, str(path), size)[np.ix_(rows, columns)].ravel(), self.numbers)
        found = {}
        for concept, name in enumerate(self.concepts):
            path = find_mask(self.folder / name, key)
            if path is not None:
                placed = read_mask(path, str(path), size)[np.ix_(rows, columns)].ravel() != 0
                if placed.any():
                    found[concept] = placed
        inside = np.array(list(found.values()), np.bool_).reshape(len(found), len(rows) * len(columns))
        return Marked(np.array(list(found), np.int64), inside)


@dataclass(frozen=True, slots=True)
class MaskColumn:
    """Masks of images in a column of the dataset.

    Args:
        column: its name.
        shards: of the dataset, by name.
        concepts: names, sorted.
        numbers: the concept of each number that has a name.
    """

    column: str
    shards: Mapping[str, ParquetShard]
    concepts: tuple[str, ...]
    numbers: Mapping[int, int]

    def __str__(self) -> str:
        """The column."""
        return f"of the column {self.column}"

    def has(self, image: MaskedImage) -> bool:
        """Whether the row of the image is not null."""
        return self._read(image) is not None

    def sample(
        self, image: MaskedImage, rows: npt.NDArray[np.int64], columns: npt.NDArray[np.int64]
    ) -> Marked:
        """As for `MaskFolder`."""
        data = self._read(image)
        assert data is not None
        where = f"{image.key} in column {self.column}"
        pixels = read_mask(io.BytesIO(data), where, (image.width, image.height))
        return _of_numbers(pixels[np.ix_(rows, columns)].ravel(), self.numbers)

    def _read(self, image: MaskedImage) -> bytes | None:
        return self.shards[image.shard].read_column(self.column, image.offset)


Masks = MaskFolder | MaskColumn


def _of_numbers(values: npt.NDArray[np.int64], numbers: Mapping[int, int]) -> Marked:
    """What the numbers at places mark; those without a name mark nothing."""
    present, place = np.unique(values, return_inverse=True)
    concept_of = np.array([numbers.get(number, -1) for number in present.tolist()], np.int64)[place]
    concepts = np.unique(concept_of[concept_of >= 0])
    return Marked(concepts, (concept_of[None, :] == concepts[:, None]).reshape(len(concepts), len(values)))


def open_masks(folder: Path, names: Path | None = None) -> MaskFolder:
    """Look what concepts a folder of masks has.

    Args:
        folder: of PNG files.
        names: file that names the numbers in them; None for names.csv in the folder, if it is there.

    Raises:
        UsageError: when it does not exist, or is no folder of masks; when the names cannot be used.
    """
    if not folder.is_dir():
        raise MissingSource(
            f"the masks {folder} are no folder; give one of PNG files with {NAMES_FILE}, or a column of the "
            "dataset, if it is of Parquet files"
        )
    path = folder / NAMES_FILE if names is None else names
    if path.is_file() or names is not None:
        return MaskFolder(folder, *read_names(path))
    inner = sorted(each.name for each in folder.iterdir() if each.is_dir())
    concepts = tuple(name for name in inner if next((folder / name).rglob("*.png"), None) is not None)
    if not concepts:
        raise UsageError(
            f"the masks {folder} have neither {NAMES_FILE}, which names the numbers in PNG files, nor a "
            "folder of PNG files for each concept"
        )
    return MaskFolder(folder, concepts, None)


def open_mask_column(column: str, dataset: Dataset, names: Path | None) -> MaskColumn:
    """Masks in a column of the dataset.

    Args:
        column: its name.
        dataset: that was indexed.
        names: file that names the numbers in the masks.

    Raises:
        UsageError: when the dataset is not of Parquet files, or the names cannot be used.
    """
    shards = {shard.name: shard for shard in dataset.shards if isinstance(shard, ParquetShard)}
    if not shards or len(shards) < len(dataset.shards):
        raise MissingSource(
            f"the masks {column} are no folder, nor a column: {dataset.name} is not of Parquet files only"
        )
    if names is None:
        raise UsageError(
            f"masks of the column {column} are numbers; give a file that names them (--mask-names)"
        )
    return MaskColumn(column, shards, *read_names(names))
