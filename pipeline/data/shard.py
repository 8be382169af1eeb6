"""Shards, and the two records that they stream: samples and members that cannot be used.

A dataset is a tuple of shards, sorted by name. A shard streams its samples in an order that never
changes, numbered from 0. Members that cannot be used take a number too, so that an `image_id`
means the same image whatever went wrong around it.
"""

from __future__ import annotations

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pipeline.errors import ShardError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "IMAGE_SUFFIXES",
    "MAX_MEMBER_BYTES",
    "BadSample",
    "Sample",
    "Shard",
    "listing_digest",
    "printable",
    "stamp_files",
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
    """One image, from its place in a shard to its row in `images`.

    The shard sets the fields up to `origin`. The feed adds those up to `pixels` and drops `data`;
    the dataset loop adds `image_id` and drops `pixels`.

    Args:
        key: its name in the dataset; shown to users, never used to open a file.
        label: its class, where known.
        position: number in its shard, from 0.
        offset: where its bytes start: byte in the archive, row in a Parquet file, 0 in a folder.
        data: the encoded image; empty once it is decoded.
        origin: the photograph it was cut from, where known.
        shard: name of its shard.
        nbytes: length of the encoded image.
        digest: of the encoded image, see `pipeline.data.content.byte_digest`.
        width: of the upright original, in pixels.
        height: likewise.
        phash: perceptual hash; None for an image too flat to have one.
        pixels: (channel, y, x) uint8 in the network's geometry; None unless it waits for the
            network.
        image_id: shard ordinal and position, see `pipeline.image_id`; -1 before it is numbered.
    """

    key: str
    label: str | None
    position: int
    offset: int
    data: bytes
    origin: str | None = None
    shard: str = ""
    nbytes: int = 0
    digest: int = 0
    width: int = 0
    height: int = 0
    phash: int | None = None
    pixels: Tensor | None = field(default=None, compare=False, repr=False)
    image_id: int = -1


@dataclass(frozen=True, slots=True)
class BadSample:
    """A member that cannot be used; becomes a row in `errors`.

    Args:
        key: its name in the dataset.
        position: number in its shard, from 0.
        kind: a short stable word for the reason.
        message: the reason.
        shard: name of its shard; set by the feed.
    """

    key: str
    position: int
    kind: str
    message: str
    shard: str = ""


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

    def stamp(self) -> str:
        """A digest of size, time of change and inode of its files; empty where these are not known.

        Equal stamps mean that nothing has written to the files; different ones decide nothing.

        Raises:
            ShardError: when a file has another size than when the dataset was opened.
        """
        return ""


def stamp_files(shard: str, files: Iterable[tuple[str, int]]) -> str:
    """The stamp of a shard of local files, see `Shard.stamp`.

    Args:
        shard: its name, for the error.
        files: (path, size in bytes when the dataset was opened) of each.
    """
    digest = hashlib.blake2b(digest_size=16)
    for path, size in files:
        try:
            status = os.stat(path)
        except OSError as error:  # the sample becomes an error row when it is read
            digest.update(f"{error.errno}\n".encode())
            continue
        if status.st_size != size:
            raise ShardError(
                shard,
                f"{os.path.basename(path)!r} has {status.st_size:,} bytes, but had {size:,} when the "
                "dataset was opened: it has changed; run the same command again when nothing writes "
                "to the dataset",
            )
        digest.update(f"{status.st_mtime_ns} {status.st_ino} {size}\n".encode())
    return digest.hexdigest()


def listing_digest(shards: Iterable[tuple[str, int, str]]) -> str:
    """SHA-256 of the name, size and digest of every shard, given in the order of their names."""
    digest = hashlib.sha256()
    for name, size, listing in shards:
        digest.update(f"{name}\0{size}\0{listing}\n".encode())
    return digest.hexdigest()


def printable(name: str) -> str:
    """A file name as text that any table can hold: bytes that are not UTF-8 become `\\xff`."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
