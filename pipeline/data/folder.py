"""Folders of image files, with or without class folders, as virtual shards.

Files are sorted by their path relative to the folder; 64 to 1,024 consecutive files form a shard, so
that a folder of 1,024 files or more has 16 shards at least: an interrupted run keeps what it has done
shard by shard. The key of a sample is this path with `/` as the separator; its label is the first folder
of the path.
"""

from __future__ import annotations

import functools
import hashlib
import heapq
import itertools
import os
import stat
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from typing import Literal

from pipeline.data.files import filesystem, is_url, read_range
from pipeline.data.retry import retrying
from pipeline.data.shard import (
    IMAGE_SUFFIXES,
    MAX_MEMBER_BYTES,
    BadSample,
    Sample,
    Shard,
    printable,
    stamp_files,
)
from pipeline.errors import ShardError, SourceError

__all__ = ["FolderShard", "Listing", "folder_shards", "list_folder"]

FILES_PER_SHARD = 1024
"""Largest number of files in a virtual shard."""

MIN_FILES_PER_SHARD = 64
"""Smallest number, two batches of the default size: batches do not cross shards."""

MIN_SHARDS = 16
"""Shards that a folder has at least, unless they would be smaller than `MIN_FILES_PER_SHARD`."""

SHARD_SUFFIXES = ("tar", "parquet")
"""File name suffixes of shards."""

BROKEN = -1
"""Listed in place of a size for a link that leads nowhere or to itself."""


@dataclass(frozen=True, slots=True)
class Listing:
    """The sorted contents of a folder.

    Args:
        images: (path relative to the folder, size in bytes) of every image file.
        shards: path relative to the folder of every tar and Parquet file.
        skipped: (path, path listed instead) of every folder that another path leads to as well.
    """

    images: tuple[tuple[str, int], ...]
    shards: tuple[str, ...]
    skipped: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderShard(Shard):
    """Up to 1,024 files of one folder.

    Args:
        root: the folder, a path or URL.
        files: (path relative to the folder, size in bytes or `BROKEN`).
        others: all files of the folder, as `files`: those of an index that was made when the folder had
            more or fewer files may be in another shard now.
    """

    root: str
    files: tuple[tuple[str, int], ...]
    others: tuple[tuple[str, int], ...] = field(default=(), repr=False, compare=False)

    def samples(self) -> Generator[Sample | BadSample]:
        """Read the files in order."""
        for position, (path, size) in enumerate(self.files):
            yield self._read_sample(position, path, size)

    def stamp(self) -> str:
        """Of all its files."""
        if is_url(self.root):
            return ""
        return stamp_files(self.name, ((f"{self.root}/{path}", size) for path, size in self.files))

    def read(self, key: str, offset: int, nbytes: int) -> bytes:
        """Read one of the listed files, or else one of the other files of the folder."""
        for path, size in itertools.chain(self.files, self.others):
            if printable(path) == key:
                if size != nbytes:
                    raise ShardError(
                        self.name,
                        f"{key!r} has {size} bytes, expected {nbytes} as when it was indexed; "
                        "index the folder again",
                    )
                return self._read_file(path, size)
        raise ShardError(
            self.name, f"has no file {key!r}; if it was moved or deleted, index the folder again"
        )

    def _read_sample(self, position: int, path: str, size: int) -> Sample | BadSample:
        key = printable(path)
        if size == BROKEN:
            return BadSample(key, position, "link", "a link that leads nowhere, or to itself")
        if size > MAX_MEMBER_BYTES:
            message = f"{size:,} bytes are more than the {MAX_MEMBER_BYTES:,} an image may have"
            return BadSample(key, position, "too_large", message)
        try:
            data = self._read_file(path, size)
        except ShardError as error:
            cause = error.__cause__.__cause__ if error.__cause__ is not None else None
            if isinstance(cause, FileNotFoundError):
                return BadSample(key, position, "missing", "listed, but gone when it was read")
            if isinstance(cause, PermissionError):
                return BadSample(key, position, "unreadable", "permission denied")
            raise
        label, slash, _ = key.partition("/")
        return Sample(key, label if slash else None, position, 0, data)

    def _read_file(self, path: str, size: int) -> bytes:
        try:
            return read_range(f"{self.root}/{path}", 0, size)
        except SourceError as error:
            raise ShardError(self.name, str(error)) from error


def list_folder(root: str) -> Listing:
    """List the image files and shards of a folder, recursively, without hidden files.

    Symbolic links are followed, but each folder is listed once: under its own path where that lies
    below `root`, else under the first link to it.

    Raises:
        SourceError: if the folder cannot be listed.
    """
    skipped: list[tuple[str, str]] = []
    found = _list_remote(root) if is_url(root) else _list_local(root, skipped)
    images, shards = [], []
    for path, size in found:
        suffix = path.rpartition(".")[2].lower()
        if suffix in IMAGE_SUFFIXES:
            images.append((path, size))
        elif suffix in SHARD_SUFFIXES:
            shards.append(path)
    return Listing(tuple(sorted(images)), tuple(sorted(shards)), tuple(sorted(skipped)))


def _list_local(root: str, skipped: list[tuple[str, str]]) -> Iterator[tuple[str, int]]:
    """Yield (relative path, size in bytes); see `Listing` for what is added to `skipped`."""
    seen: dict[tuple[int, int], str] = {}
    own, linked = [""], list[str]()
    while own or linked:
        folder = own.pop() if own else heapq.heappop(linked)
        path = os.path.join(root, folder)
        status = retrying(functools.partial(os.stat, path), path)
        first = seen.setdefault((status.st_dev, status.st_ino), folder)
        if first != folder:
            skipped.append((folder, first))
            continue
        for name, kind, size in retrying(functools.partial(_scan, path), path):
            relative = f"{folder}/{name}" if folder else name
            if kind == "file":
                yield relative, size
            elif kind == "folder":
                own.append(relative)
            else:
                heapq.heappush(linked, relative)


def _scan(path: str) -> list[tuple[str, Literal["file", "folder", "link"], int]]:
    """(name, kind, size in bytes) of the visible entries of one folder; `link` is one to a folder."""
    found: list[tuple[str, Literal["file", "folder", "link"], int]] = []
    with os.scandir(path) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            try:
                status = entry.stat()
            except OSError:
                if entry.is_symlink():
                    found.append((entry.name, "file", BROKEN))
                continue  # any other entry was removed since
            if stat.S_ISDIR(status.st_mode):
                found.append((entry.name, "link" if entry.is_symlink() else "folder", 0))
            elif stat.S_ISREG(status.st_mode):
                found.append((entry.name, "file", status.st_size))
    return found


def _list_remote(root: str) -> Iterator[tuple[str, int]]:
    """Yield (relative path, size in bytes) of the files below a URL."""
    fs, path = filesystem(root)
    found = retrying(lambda: fs.find(path, detail=True), root)
    for name, info in found.items():
        relative = name[len(path.rstrip("/")) + 1 :]
        if not any(part.startswith(".") for part in relative.split("/")):
            yield relative, info["size"] or 0


def folder_shards(root: str, files: tuple[tuple[str, int], ...]) -> list[FolderShard]:
    """Divide the sorted files of a folder into shards named `00000`, `00001` and so on.

    Args:
        root: the folder, a path or URL.
        files: (path relative to the folder, size in bytes).
    """
    shards = []
    count = _files_per_shard(len(files))
    for start in range(0, len(files), count):
        group = files[start : start + count]
        listing = "".join(f"{printable(path)}\0{size}\n" for path, size in group)
        shards.append(
            FolderShard(
                name=f"{start // count:05}",
                size=sum(max(size, 0) for _, size in group),
                count_hint=len(group),
                digest=hashlib.sha256(listing.encode()).hexdigest(),
                root=root.rstrip("/") or "/",
                files=group,
                others=files,
            )
        )
    return shards


def _files_per_shard(files: int) -> int:
    """Number of files in each shard of a folder.

    A power of two times the smallest number, so that adding a few files to a folder seldom changes it.
    """
    count = MIN_FILES_PER_SHARD
    while count < FILES_PER_SHARD and files >= 2 * count * MIN_SHARDS:
        count *= 2
    return min(count, FILES_PER_SHARD)
