"""The files of an atlas: written only when they change, recorded, and removed when they are not needed.

A line is added to the record (`pipeline.store.atlas_record`) when a file has been written, so that an
interrupted build goes on where it stopped. Files are replaced atomically but not synced one by one, which
would take longer than to draw them; one that a power failure cut off has another size than recorded, and is
written again.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import secrets
from pathlib import Path
from typing import Protocol, Self, TextIO

from pipeline.errors import StoreError
from pipeline.store.atlas_record import (
    ATLAS_FOLDER,
    RECORD,
    AtlasRecord,
    Entry,
    read_record,
    record_line,
    remove_atlas,
    write_record,
)
from pipeline.store.files import make_folder
from pipeline.store.inside import inside
from pipeline.store.locks import lock_refused
from pipeline.working_copies import withdraw

__all__ = ["AtlasFiles", "FileSink", "digest_of", "write_file"]

LOCK = ".atlas.lock"
"""Name of the lock in OUT that keeps two builds apart."""


def digest_of(*parts: object) -> str:
    """A digest of values with a stable `repr`, 32 hexadecimal digits."""
    return hashlib.blake2b(repr(parts).encode("utf-8", "backslashreplace"), digest_size=16).hexdigest()


class FileSink(Protocol):
    """What pictures need of the files of an atlas."""

    folder: Path

    def has(self, name: str, key: str) -> bool:
        """Whether the file need not be written."""

    def write(self, name: str, key: str, data: bytes) -> None:
        """Write a file."""


class AtlasFiles:
    """The files in OUT/atlas, for the length of a build; use it as a context manager.

    Files that an atlas of another index left are removed at the start.

    Args:
        out: folder of the index; its subfolder `atlas` is created if it does not exist.
        fingerprint: of the index.

    Raises:
        StoreError: when the folder cannot be written, or another process is building there.
    """

    def __init__(self, out: Path, fingerprint: str) -> None:
        self.folder = out / ATLAS_FOLDER
        self._out, self._fingerprint = out, fingerprint
        self._recorded: dict[str, Entry] = {}
        self._used: set[str] = set()
        self._made: set[Path] = set()
        self._record: TextIO | None = None
        self._lock = -1

    def __enter__(self) -> Self:
        make_folder(self.folder)
        self._lock = self._take()
        try:
            remove_atlas(self._out, keep=self._fingerprint)
            make_folder(self.folder)
            found = read_record(self.folder)
            self._recorded = dict(found.files) if found else {}
            write_record(self.folder, AtlasRecord(self._fingerprint, self._recorded))
            self._record = (self.folder / RECORD).open("a", encoding="utf-8")
        except BaseException as error:
            os.close(self._lock)
            if isinstance(error, OSError):
                raise self._refused(error) from error
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._record is not None:
            self._record.close()
        os.close(self._lock)

    def _remove_empty(self, folder: Path) -> None:
        """Remove a folder of the atlas and those above it, as far as they are empty."""
        with contextlib.suppress(OSError):  # it has other files
            while folder != self.folder:
                folder.rmdir()
                folder = folder.parent

    def _take(self) -> int:
        """Lock the index's folder against other builds; returns the descriptor that holds the lock."""
        try:
            lock = os.open(self._out / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise self._refused(error) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(lock)
            raise lock_refused(self.folder, error, "building") from error
        return lock

    def _refused(self, error: OSError) -> StoreError:
        return StoreError(f"cannot write into {self.folder}: {error.strerror or error}")

    def has(self, name: str, key: str) -> bool:
        """Whether the file is there and was made from the same; it then remains part of the atlas."""
        recorded = self._recorded.get(name)
        if recorded is None or recorded[0] != key or _size(self.folder / name) != recorded[1]:
            return False
        self._used.add(name)
        return True

    def write(self, name: str, key: str, data: bytes) -> None:
        """Write a file.

        Args:
            name: relative to the folder.
            key: digest of what it is made from.
            data: the content.

        Raises:
            StoreError: when it cannot be written, or a link leads out of the index.
        """
        write_file(self._out, name, data, self._made)
        self.record(name, key, len(data))

    def record(self, name: str, key: str, size: int) -> None:
        """Record a file that is written, here or by another process."""
        self._recorded[name] = (key, size)
        self._used.add(name)
        if self._record is not None:
            self._record.write(record_line(name, (key, size)))
            self._record.flush()

    def write_text(self, name: str, text: str) -> bool:
        """Write a text file if it differs from the one that is there; returns whether it did."""
        key = digest_of(text)
        if self.has(name, key):
            return False
        self.write(name, key, text.encode("utf-8", "backslashreplace"))
        return True

    def finish(self) -> int:
        """Remove files of an earlier build that are no longer part of the atlas; returns the total size."""
        for name in sorted(set(self._recorded) - self._used):
            del self._recorded[name]
            with contextlib.suppress(StoreError):  # a link leads elsewhere
                path = inside(self._out, f"{ATLAS_FOLDER}/{name}", folder=ATLAS_FOLDER)
                path.unlink(missing_ok=True)
                withdraw(path)
                self._remove_empty(path.parent)
        write_record(self.folder, AtlasRecord(self._fingerprint, self._recorded))
        return sum(size for _, size in self._recorded.values())


def write_file(out: Path, name: str, data: bytes, made: set[Path]) -> None:
    """Write a file of an atlas.

    Args:
        out: folder of the index.
        name: relative to the folder of the atlas.
        data: the content.
        made: folders that are known to be there and inside; extended.

    Raises:
        StoreError: when it cannot be written, or a link leads out of the index.
    """
    path = out / ATLAS_FOLDER / name
    temporary = path.with_name(f".{path.name}.{os.getpid()}{secrets.randbelow(10**9):09}.tmp")
    try:
        if path.parent not in made:
            inside(out, f"{ATLAS_FOLDER}/{name}", folder=ATLAS_FOLDER)
            path.parent.mkdir(parents=True, exist_ok=True)
            made.add(path.parent)
        temporary.write_bytes(data)
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):  # its folder may not be there
            temporary.unlink()
        raise StoreError(f"cannot write {path}: {error.strerror or error}") from error


def _size(path: Path) -> int:
    """The size of a file, -1 where there is none."""
    try:
        return path.stat().st_size
    except OSError:
        return -1
