"""Files of masks: where that of an image is, its numbers, and their names."""

from __future__ import annotations

import csv
import io
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt
from PIL import Image

from pipeline.errors import SourceError, UsageError

__all__ = ["find_mask", "read_mask", "read_names"]

_MODES = ("1", "L", "P", "I", "I;16")
"""What Pillow calls pictures of one number a pixel."""

_UNREADABLE = (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError)

_SHOWN = 60


def read_names(path: Path) -> tuple[tuple[str, ...], dict[int, int]]:
    """The concepts of a file of names, and the concept of each number."""
    names = _read_numbers(path)
    concepts = tuple(sorted(set(names.values())))
    place = {name: number for number, name in enumerate(concepts)}
    return concepts, {number: place[name] for number, name in names.items()}


def _read_numbers(path: Path) -> dict[int, str]:
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


def find_mask(folder: Path, key: str) -> Path | None:
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


def read_mask(source: Path | io.BytesIO, where: str, size: tuple[int, int]) -> npt.NDArray[np.int64]:
    """(y, x) numbers of a mask."""
    try:
        with Image.open(source, formats=["PNG"]) as picture:
            if picture.mode not in _MODES:
                raise SourceError(
                    f"the mask {where} is {picture.mode}; expected a palette or grey PNG with a number for "
                    "each pixel"
                )
            if picture.size != size:
                width, height = picture.size
                raise SourceError(
                    f"the mask {where} has {width} x {height} pixels, its image {size[0]} x {size[1]}; give "
                    "masks of the size of the upright images"
                )
            return np.asarray(picture, np.int64)
    except _UNREADABLE as error:
        reason = " ".join(str(getattr(error, "strerror", None) or error).split())
        raise SourceError(f"the mask {where} cannot be read: {reason}") from error
