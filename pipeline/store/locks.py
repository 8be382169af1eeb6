"""What is said when a folder cannot be locked."""

from __future__ import annotations

from pathlib import Path

from pipeline.errors import StoreError

__all__ = ["lock_refused"]


def lock_refused(folder: Path, error: OSError, doing: str = "working in") -> StoreError:
    """The error to raise for one of `fcntl.flock`.

    Args:
        folder: that is locked.
        error: what was raised: a `BlockingIOError` where another process holds the lock.
        doing: what processes with the lock do there.
    """
    if isinstance(error, BlockingIOError):
        return StoreError(f"another process is {doing} {folder}; wait for it to end")
    return StoreError(
        f"cannot lock {folder}: {error.strerror or error}; use a folder on a file system with locks"
    )
