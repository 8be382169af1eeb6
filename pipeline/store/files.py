"""Files written atomically, and their digests."""

from __future__ import annotations

import contextlib
import fcntl
import glob
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import StoreError

__all__ = ["atomic_path", "make_folder", "sha256_file", "sync_file", "sync_folder"]


def sync_file(path: Path) -> None:
    """Flush a file to the disk."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Flush the renames inside a folder to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Create a folder and those above it, where they do not exist.

    Raises:
        StoreError: when it cannot be created.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"cannot create {folder}: {error.strerror or error}; free some space or fix the permissions, "
            "and run the same command again"
        ) from error


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`: flushed and renamed on success, removed on failure.

    What killed processes have left of the same file is removed first. A temporary file is locked as
    long as its process lives, so that only theirs are.

    Raises:
        StoreError: when the disk is full or the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with contextlib.ExitStack() as stack:
        stack.callback(_remove, temporary)
        try:
            _remove_abandoned(path)
            stack.callback(os.close, _lock_new(temporary))
            yield temporary
            sync_file(temporary)
            os.replace(temporary, path)
            sync_folder(path.parent)
        except OSError as error:
            raise StoreError(
                f"cannot write {path}: {error.strerror or error}; files written earlier are intact. Free "
                "some space or fix the permissions, and run the same command again"
            ) from error


def _lock_new(path: Path) -> int:
    """Create a file and lock it; returns its descriptor."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o666)
    with contextlib.suppress(OSError):  # some network file systems have no locks
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return descriptor


def _remove_abandoned(path: Path) -> None:
    """Remove the temporary files of `path` whose processes have ended."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        with contextlib.suppress(OSError):
            descriptor = os.open(left, os.O_RDONLY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                left.unlink(missing_ok=True)
            finally:
                os.close(descriptor)


def _remove(path: Path) -> None:
    """Remove a file if that is possible: the error that led here is the one to report."""
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)


def sha256_file(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
