"""What a source is made of: samples, unusable members, and the shards that stream them.

A dataset is a tuple of shards, sorted by name. A shard streams its samples in an order that never
changes, numbered from 0; members that cannot be used take a number too, so that an `image_id`
means the same image whatever went wrong around it.
"""

from __future__ import annotations

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterable
from dataclasses import dataclass

__all__ = [
    "IMAGE_SUFFIXES",
    "MAX_MEMBER_BYTES",
    "BadSample",
    "Sample",
    "Shard",
    "listing_digest",
    "printable",
]

MAX_MEMBER_BYTES = 1 << 29
"""Bytes (512 MiB) above which an image file is refused unread, so that memory stays flat."""

IMAGE_SUFFIXES = (
    "jpg",
    "jpeg",
    "jpe",
    "jfif",
    "png",
    "apng",
    "webp",
    "gif",
    "bmp",
    "dib",
    "tif",
    "tiff",
    "ppm",
    "pgm",
    "pbm",
    "pnm",
    "jp2",
    "j2k",
    "avif",
    "heic",
    "heif",
    "jxl",
)
"""File name endings taken for images, in order of preference where one sample has several. Those
that cannot be decoded are here too: they become error rows and are not passed over in silence."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One image as it lies in its source, not yet decoded.

    Args:
        key: its name in the dataset; a string for people, never used to open a file.
        label: its class, where known.
        position: number in its shard, from 0.
        offset: where its bytes start: byte in the archive, row in a Parquet file, 0 in a folder.
        data: the encoded image.
        origin: the photograph it was cut from, where known.
    """

    key: str
    label: str | None
    position: int
    offset: int
    data: bytes
    origin: str | None = None


@dataclass(frozen=True, slots=True)
class BadSample:
    """A member that cannot be used; becomes a row in `errors`.

    Args:
        key: its name in the dataset.
        position: number in its shard, from 0.
        kind: a short stable word for the reason.
        message: the reason.
    """

    key: str
    position: int
    kind: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard(ABC):
    """A group of samples that is read from front to back.

    Args:
        name: unique in its dataset, and free of machine paths.
        size: bytes of the archive, or of all its files.
        count_hint: number of samples, where that is known without reading.
        digest: of the listing (names and sizes of the files), where the shard has one.
    """

    name: str
    size: int
    count_hint: int | None = None
    digest: str = ""

    @abstractmethod
    def samples(self) -> Generator[Sample | BadSample]:
        """Stream the samples in their fixed order; may be closed at any point.

        Raises:
            ShardError: when the shard is damaged or cannot be read; what came before it then
                does not count.
        """

    @abstractmethod
    def read(self, key: str, offset: int, nbytes: int) -> bytes:
        """The encoded image that `samples` gave with this key, offset and number of bytes.

        Raises:
            ShardError: when it is no longer there.
        """


def listing_digest(shards: Iterable[tuple[str, int, str]]) -> str:
    """SHA-256 of the name, size and digest of every shard, given in the order of their names."""
    digest = hashlib.sha256()
    for name, size, listing in shards:
        digest.update(f"{name}\0{size}\0{listing}\n".encode())
    return digest.hexdigest()


def printable(name: str) -> str:
    """A file name as text that any table can hold: bytes that are not UTF-8 become `\\xff`."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
