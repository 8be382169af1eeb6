"""Segmentation masks as PNG files in a folder, called like the images that they belong to.

Either every image has one PNG of numbers, palette or grey, and FOLDER/names.csv has the name of each number;
or each concept has a folder of its own, FOLDER/CONCEPT, with a PNG for each image that shows it, in which
everything but 0 is inside. The PNG of the image `a/b.jpg` is `a/b.png` or `a/b.jpg.png`.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt
from PIL import Image

from pipeline.errors import MissingSource, SourceError, UsageError

__all__ = ["NAMES_FILE", "Marked", "MaskFolder", "open_masks"]

NAMES_FILE = "names.csv"

_MODES = ("1", "L", "P", "I", "I;16")
"""What Pillow calls pictures of one number a pixel."""

_UNREADABLE = (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError)

_SHOWN = 60


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
    numbers: dict[int, int] | None

    def has(self, key: str) -> bool:
        """Whether there is a mask of the image."""
        if self.numbers is not None:
            return _find(self.folder, key) is not None
        return any(_find(self.folder / concept, key) is not None for concept in self.concepts)

    def sample(
        self, key: str, size: tuple[int, int], rows: npt.NDArray[np.int64], columns: npt.NDArray[np.int64]
    ) -> Marked:
        """What is marked at the crossings of some rows and columns of pixels.

        Args:
            key: of the image, which `has` a mask.
            size: width and height of the upright image.
            rows, columns: of pixels.

        Raises:
            SourceError: when a mask cannot be read, or is of another size.
        """
        if self.numbers is None:
            found = {}
            for concept, name in enumerate(self.concepts):
                path = _find(self.folder / name, key)
                if path is not None:
                    placed = _read(path, size)[np.ix_(rows, columns)].ravel() != 0
                    if placed.any():
                        found[concept] = placed
            concepts, inside = np.array(list(found), np.int64), list(found.values())
        else:
            path = _find(self.folder, key)
            assert path is not None
            concept_of = self._concepts_of(_read(path, size)[np.ix_(rows, columns)].ravel())
            concepts = np.unique(concept_of[concept_of >= 0])
            inside = [concept_of == concept for concept in concepts.tolist()]
        return Marked(concepts, np.array(inside, np.bool_).reshape(len(concepts), len(rows) * len(columns)))

    def _concepts_of(self, pixels: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """(place,) the concept of each number, -1 for one without a name."""
        assert self.numbers is not None
        present, place = np.unique(pixels, return_inverse=True)
        of_present = np.array([self.numbers.get(number, -1) for number in present.tolist()], np.int64)
        return of_present[place].reshape(pixels.shape)


def open_masks(folder: Path) -> MaskFolder:
    """Look what concepts a folder of masks has.

    Raises:
        UsageError: when it does not exist, or is no folder of masks; when names.csv cannot be used.
    """
    if not folder.is_dir():
        raise MissingSource(f"the masks {folder} are no folder; give one of PNG files with {NAMES_FILE}")
    path = folder / NAMES_FILE
    if path.is_file():
        names = _read_names(path)
        concepts = tuple(sorted(set(names.values())))
        place = {name: number for number, name in enumerate(concepts)}
        return MaskFolder(folder, concepts, {number: place[name] for number, name in names.items()})
    inner = sorted(each.name for each in folder.iterdir() if each.is_dir())
    concepts = tuple(name for name in inner if next((folder / name).rglob("*.png"), None) is not None)
    if not concepts:
        raise UsageError(
            f"the masks {folder} have neither {NAMES_FILE}, which names the numbers in PNG files, nor a "
            "folder of PNG files for each concept"
        )
    return MaskFolder(folder, concepts, None)


def _read_names(path: Path) -> dict[int, str]:
    expected = "a number and a name in each line, such as 12,tree"
    try:
        text = path.read_text(encoding="utf-8-sig")
        rows = [[cell.strip() for cell in row] for row in csv.reader(text.splitlines(), strict=True) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = " ".join(str(getattr(error, "strerror", None) or error).split())
        raise UsageError(f"{path} cannot be read: {reason}; expected {expected}") from error
    names: dict[int, str] = {}
    for line, row in enumerate(rows, start=1):
        if line == 1 and len(row) == 2 and not row[0].isdecimal():
            continue  # titles
        if len(row) != 2 or not row[0].isdecimal() or len(row[0]) > 9 or not row[1]:
            shown = ascii(row)
            shown = shown if len(shown) <= _SHOWN else f"{shown[: _SHOWN - 3]}..."
            raise UsageError(f"{path}: line {line} is {shown}; expected {expected}")
        if names.setdefault(int(row[0]), row[1]) != row[1]:
            raise UsageError(f"{path}: the number {row[0]} has two names; give one")
    if not names:
        raise UsageError(f"{path} is empty; expected {expected}")
    return names


def _find(folder: Path, key: str) -> Path | None:
    """The mask of an image; None if there is none, or the name leads out of the folder."""
    name = PurePosixPath(key)
    if name.is_absolute() or ".." in name.parts or "\0" in key:
        return None
    for each in (name.with_suffix(".png") if name.name else name, PurePosixPath(f"{key}.png")):
        try:
            if (folder / each).is_file():
                return folder / each
        except OSError:  # a name that no file can have
            continue
    return None


def _read(path: Path, size: tuple[int, int]) -> npt.NDArray[np.int64]:
    """(y, x) numbers of a mask."""
    try:
        with Image.open(path, formats=["PNG"]) as picture:
            if picture.mode not in _MODES:
                raise SourceError(
                    f"the mask {path} is {picture.mode}; expected a palette or grey PNG with a number for "
                    "each pixel"
                )
            if picture.size != size:
                width, height = picture.size
                raise SourceError(
                    f"the mask {path} has {width} x {height} pixels, its image {size[0]} x {size[1]}; give "
                    "masks of the size of the upright images"
                )
            return np.asarray(picture, np.int64)
    except _UNREADABLE as error:
        reason = " ".join(str(getattr(error, "strerror", None) or error).split())
        raise SourceError(f"the mask {path} cannot be read: {reason}") from error
