"""Folders of image files, one folder per class or all in one, as virtual shards.

The files are sorted by their path relative to the folder; every 1,024 of them are a shard. The
key is that path, with `/` whatever the system; the label is its first folder, if it has one.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Generator, Iterator
from dataclasses import dataclass

from pipeline.data.files import filesystem, is_url, read_range
from pipeline.data.retry import retrying
from pipeline.data.shard import (
    IMAGE_SUFFIXES,
    MAX_MEMBER_BYTES,
    BadSample,
    Sample,
    Shard,
    printable,
)
from pipeline.errors import ShardError, SourceError

__all__ = ["FolderShard", "Listing", "folder_shards", "list_folder"]

FILES_PER_SHARD = 1024
"""Files of one virtual shard."""

SHARD_SUFFIXES = ("tar", "parquet")
"""File name endings of shards that lie in a folder."""


@dataclass(frozen=True, slots=True)
class Listing:
    """What a folder holds, sorted.

    Args:
        images: (path relative to the folder, bytes) of every image file.
        shards: paths relative to the folder of every tar and Parquet file.
    """

    images: tuple[tuple[str, int], ...]
    shards: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderShard(Shard):
    """Up to 1,024 files of one folder.

    Args:
        root: the folder, a path or URL.
        files: (path relative to the folder, bytes).
    """

    root: str
    files: tuple[tuple[str, int], ...]

    def samples(self) -> Generator[Sample | BadSample]:
        """Read one file after another."""
        for position, (path, size) in enumerate(self.files):
            yield self._sample(position, path, size)

    def read(self, key: str, offset: int, nbytes: int) -> bytes:
        """Read one of the listed files again."""
        for path, size in self.files:
            if printable(path) == key:
                if size != nbytes:
                    raise ShardError(
                        self.name, f"{key!r} has {size} bytes now, and had {nbytes} when indexed"
                    )
                return self._bytes(path, size)
        raise ShardError(self.name, f"has no file {key!r} (any more); index the folder again")

    def _sample(self, position: int, path: str, size: int) -> Sample | BadSample:
        key = printable(path)
        if size > MAX_MEMBER_BYTES:
            message = f"{size:,} bytes are more than the {MAX_MEMBER_BYTES:,} an image may have"
            return BadSample(key, position, "too_large", message)
        try:
            data = self._bytes(path, size)
        except ShardError as error:
            cause = error.__cause__.__cause__ if error.__cause__ is not None else None
            if isinstance(cause, FileNotFoundError):
                return BadSample(key, position, "missing", "listed, but gone when it was read")
            if isinstance(cause, PermissionError):
                return BadSample(key, position, "unreadable", "permission denied")
            raise
        label, slash, _ = key.partition("/")
        return Sample(key, label if slash else None, position, 0, data)

    def _bytes(self, path: str, size: int) -> bytes:
        try:
            return read_range(f"{self.root}/{path}", 0, size)
        except SourceError as error:
            raise ShardError(self.name, str(error)) from error


def list_folder(root: str) -> Listing:
    """List the image files and shards of a folder, links followed, hidden names left out.

    Raises:
        SourceError: when the folder cannot be listed.
    """
    found = _list_remote(root) if is_url(root) else _list_local(root)
    images, shards = [], []
    for path, size in found:
        suffix = path.rpartition(".")[2].lower()
        if suffix in IMAGE_SUFFIXES:
            images.append((path, size))
        elif suffix in SHARD_SUFFIXES:
            shards.append(path)
    return Listing(tuple(sorted(images)), tuple(sorted(shards)))


def _list_local(root: str) -> Iterator[tuple[str, int]]:
    """Walk a folder; a link that leads back into its own parents is not followed."""
    waiting: list[tuple[str, frozenset[tuple[int, int]]]] = [("", frozenset())]
    while waiting:
        folder, parents = waiting.pop()
        path = os.path.join(root, folder)
        status = retrying(lambda path=path: os.stat(path), path)  # type: ignore[misc]
        here = (status.st_dev, status.st_ino)
        if here in parents:
            continue
        with retrying(lambda path=path: os.scandir(path), path) as entries:  # type: ignore[misc]
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                relative = f"{folder}/{entry.name}" if folder else entry.name
                if entry.is_dir():
                    waiting.append((relative, parents | {here}))
                elif entry.is_file():
                    yield relative, entry.stat().st_size


def _list_remote(root: str) -> Iterator[tuple[str, int]]:
    fs, path = filesystem(root)
    found = retrying(lambda: fs.find(path, detail=True), root)
    for name, info in found.items():
        relative = name[len(path.rstrip("/")) + 1 :]
        if not any(part.startswith(".") for part in relative.split("/")):
            yield relative, info["size"] or 0


def folder_shards(root: str, files: tuple[tuple[str, int], ...]) -> list[FolderShard]:
    """Cut a folder's sorted files into shards named `00000`, `00001` and so on."""
    shards = []
    for start in range(0, len(files), FILES_PER_SHARD):
        group = files[start : start + FILES_PER_SHARD]
        listing = "".join(f"{printable(path)}\0{size}\n" for path, size in group)
        shards.append(
            FolderShard(
                name=f"{start // FILES_PER_SHARD:05}",
                size=sum(size for _, size in group),
                count_hint=len(group),
                digest=hashlib.sha256(listing.encode()).hexdigest(),
                root=root.rstrip("/") or "/",
                files=group,
            )
        )
    return shards
