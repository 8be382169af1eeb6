"""The peaks that a part keeps of every image and unit: written once, read by unit and by image.

A file of peaks is a NumPy array (tile, unit, row) of float16 or float32 in C order. A tile has at most
`TILE_IMAGES` images, all tiles have as many rows, and rows beyond the last image are zero: there are fewer
of them than tiles. Images are in the order of the part's table of images, units in that of all layers. So

    np.load("peaks.npy", mmap_mode="r")[:, unit].reshape(-1)[:images]

are the peaks of a unit. They are a short run of bytes in every tile; those of an image are spread over one
tile. The larger the tiles, the fewer runs of a unit, and the more must be read for an image.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np
import numpy.typing as npt

from pipeline.choices import PeakFormat
from pipeline.errors import DamagedFile, StoreError, UnreadableFile

__all__ = [
    "KEPT_PEAKS",
    "PEAKS",
    "PEAKS_FILE",
    "PEAK_TYPES",
    "TILE_IMAGES",
    "PeakFile",
    "PeakSpill",
    "peak_bytes",
]

_PREFIX, _ALIGNMENT, _DIGITS = 10, 64, 21
"""Of NumPy files: bytes before the header's text, of which the whole is a multiple, and room for a number."""

KEPT_PEAKS = "kept peaks"
"""Field of a run's fingerprint with the number format; runs that keep no peaks do not have it."""

PEAKS = "peaks"
"""Name of the file among the tables of a part."""

PEAKS_FILE = f"{PEAKS}.npy"

TILE_IMAGES = 1024
"""Images of a tile, at most; `bench/tuning.md` has the times of other sizes."""

PEAK_TYPES: dict[PeakFormat, np.dtype[Any]] = {"float16": np.dtype("<f2"), "float32": np.dtype("<f4")}

Floats = npt.NDArray[Any]
"""float16 or float32."""


def peak_bytes(images: int, units: int, kept: PeakFormat) -> int:
    """Bytes that the peaks of all images and units take."""
    return images * units * PEAK_TYPES[kept].itemsize


class PeakSpill:
    """The peaks of a group of shards before its part is committed, in a file without a name.

    It takes room on the disk of `folder`, and vanishes with the process.

    Args:
        folder: created if it does not exist.
        units: of all layers.
        kept: number format.

    Raises:
        StoreError: when the file cannot be created.
    """

    def __init__(self, folder: Path, units: int, kept: PeakFormat) -> None:
        self.units, self.kind, self.images = units, PEAK_TYPES[kept], 0
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file: BinaryIO = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115
        except OSError as error:
            raise self._failed(error) from error

    def __enter__(self) -> Self:
        """The open file."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Close and thereby remove the file."""
        self._file.close()

    def add(self, peaks: Floats) -> None:
        """Append (image, unit) peaks of the spill's number format.

        Raises:
            StoreError: when the disk is full.
        """
        try:
            data = np.ascontiguousarray(peaks, self.kind).reshape(-1).view(np.uint8).data
            while data:
                data = data[self._file.write(data) :]
        except OSError as error:
            raise self._failed(error) from error
        self.images += len(peaks)

    def write(self, path: Path) -> str:
        """Write the file of a part, and flush it; returns its SHA-256.

        Raises:
            OSError: when it cannot be written.
        """
        tiles, rows = _shape(self.images)
        digest = hashlib.sha256()
        with open(path, "wb") as file:
            for data in self._content(tiles, rows):
                file.write(data)
                digest.update(data)
            file.flush()
            os.fsync(file.fileno())
        return digest.hexdigest()

    def _content(self, tiles: int, rows: int) -> Iterator[bytes | memoryview]:
        yield _header(self.kind, (tiles, self.units, rows))
        tile = np.zeros((self.units, rows), self.kind)
        line = self.units * self.kind.itemsize
        for first in range(0, self.images, max(rows, 1)):
            count = min(rows, self.images - first)
            data = _read_at(self._file.fileno(), count * line, first * line)
            tile[:, :count] = np.frombuffer(data, self.kind).reshape(count, self.units).T
            tile[:, count:] = 0
            yield tile.reshape(-1).view(np.uint8).data

    def _failed(self, error: OSError) -> StoreError:
        return StoreError(
            f"cannot keep peaks in {self.folder}: {error.strerror or error}; parts committed earlier are "
            "intact. Free some space or fix the permissions, and run the same command again"
        )


@dataclass(frozen=True, slots=True)
class PeakFile:
    """A file of peaks, of which only parts are read.

    Args:
        path: of the file.
        images: of the part.
        units: of all layers.
        kind: number format.
        tiles: number of tiles.
        rows: of each tile.
        start: offset of the array, in bytes.
    """

    path: Path
    images: int
    units: int
    kind: np.dtype[Any]
    tiles: int
    rows: int
    start: int

    @classmethod
    def open(cls, path: Path, images: int, units: int, kept: PeakFormat) -> PeakFile:
        """Read the header of a file and compare it with what the part has.

        Raises:
            DamagedFile: when the file is missing, or of other images or units.
            UnreadableFile: when it cannot be read, which may pass.
        """
        tiles, rows = _shape(images)
        kind = PEAK_TYPES[kept]
        header = _header(kind, (tiles, units, rows))
        expected = len(header) + tiles * units * rows * kind.itemsize
        try:
            with open(path, "rb") as file:
                found, size = file.read(len(header)), os.fstat(file.fileno()).st_size
        except (FileNotFoundError, NotADirectoryError) as error:
            raise DamagedFile(f"{path} is missing; {_AGAIN}") from error
        except OSError as error:
            raise _unreadable(path, error) from error
        if found != header:
            raise DamagedFile(f"{path} is no array of the shape {(tiles, units, rows)} of {kept}; {_AGAIN}")
        if size != expected:
            raise DamagedFile(f"{path} has {size:,} bytes, expected {expected:,}; {_AGAIN}")
        return cls(path, images, units, kind, tiles, rows, len(header))

    def prefetch(self, units: slice) -> None:
        """Let the system begin to read neighbouring units, of all tiles side by side.

        Raises:
            UnreadableFile: when the file cannot be opened.
        """
        if hasattr(os, "posix_fadvise"):
            with self._opened() as descriptor:
                for place, size in self._runs(units):
                    os.posix_fadvise(descriptor, place, size, os.POSIX_FADV_WILLNEED)

    def read_units(self, units: slice) -> Floats:
        """(unit, image) peaks of neighbouring units.

        Raises:
            UnreadableFile: when the file cannot be read.
        """
        count = units.stop - units.start
        found = np.empty((count, self.tiles, self.rows), self.kind)
        with self._opened() as descriptor:
            for tile, (place, size) in enumerate(self._runs(units)):
                data = _read_at(descriptor, size, place)
                found[:, tile] = np.frombuffer(data, self.kind).reshape(count, self.rows)
        return found.reshape(count, -1)[:, : self.images]

    def read_images(self, images: npt.NDArray[np.int64]) -> Floats:
        """(image, unit) peaks of some images, by their places in the part.

        Raises:
            UnreadableFile: when the file cannot be read.
        """
        found = np.empty((len(images), self.units), self.kind)
        size = self.units * self.rows * self.kind.itemsize
        tile_of = images // max(self.rows, 1)
        with self._opened() as descriptor:
            for tile in np.unique(tile_of).tolist():
                data = np.frombuffer(_read_at(descriptor, size, self.start + tile * size), self.kind)
                chosen = (tile_of == tile).nonzero()[0]
                rows = images[chosen] - tile * self.rows
                found[chosen] = data.reshape(self.units, self.rows)[:, rows].T
        return found

    def _runs(self, units: slice) -> list[tuple[int, int]]:
        """Offset and size, in bytes, of neighbouring units in each tile."""
        line = self.rows * self.kind.itemsize
        size = (units.stop - units.start) * line
        return [(self.start + (tile * self.units + units.start) * line, size) for tile in range(self.tiles)]

    def _opened(self) -> _Opened:
        return _Opened(self.path)


class _Opened:
    """A descriptor for the length of a context; errors of the disk name the file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.descriptor = -1

    def __enter__(self) -> int:
        try:
            self.descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise _unreadable(self.path, error) from error
        return self.descriptor

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        os.close(self.descriptor)
        if isinstance(error, OSError):
            raise _unreadable(self.path, error) from error


def _shape(images: int) -> tuple[int, int]:
    """Tiles, and rows of each."""
    tiles = -(-images // TILE_IMAGES)
    return tiles, -(-images // max(tiles, 1))


def _header(kind: np.dtype[Any], shape: tuple[int, int, int]) -> bytes:
    """What a NumPy file (format 1.0) of an array starts with; it is compared, and not parsed.

    As NumPy 2 writes it, with room for the first number to grow, whatever other versions do.
    """
    text = f"{{'descr': '{kind.str}', 'fortran_order': False, 'shape': {shape}, }}"
    text += " " * (_DIGITS - len(str(shape[0])))
    size = -(-(_PREFIX + len(text) + 1) // _ALIGNMENT) * _ALIGNMENT - _PREFIX
    return b"\x93NUMPY\x01\x00" + size.to_bytes(2, "little") + text.ljust(size - 1).encode() + b"\n"


_AGAIN = "run the same `maxact index` again, which indexes only the shards of this part again"


def _unreadable(path: Path, error: OSError) -> UnreadableFile:
    return UnreadableFile(
        f"{path} cannot be read: {error.strerror or error}; run the same command again when the disk answers"
    )


def _read_at(descriptor: int, size: int, offset: int) -> bytes:
    """Bytes at a place of a file.

    Raises:
        OSError: when they cannot be read, or the file ends before.
    """
    data = os.pread(descriptor, size, offset)
    while len(data) < size:
        more = os.pread(descriptor, size - len(data), offset + len(data))
        if not more:
            raise OSError("the file is shorter than when it was opened")
        data += more
    return data
