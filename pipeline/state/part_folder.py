"""The folder of a part while it is written, and how it gets its final name.

Every writer has a folder of its own, `.NAME.HOST-PROCESS-NUMBER.tmp`, so that two that write the same
part do not meet before their folders are complete. Nothing here relies on locks, which not every file
system that machines share has.
"""

from __future__ import annotations

import contextlib
import errno
import os
import platform
import re
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from pipeline.errors import StoreError
from pipeline.store.files import sha256_file, sync_folder

__all__ = ["clear_abandoned", "place_folder", "temporary_folder"]

ABANDONED_S = 3600.0
"""Seconds without a change after which the folder of a process of another machine is taken for left:
parts are written in seconds to minutes."""

_TRIES = 10
"""Attempts to give a folder its final name while others do the same."""

_OWNED = re.compile(r"\..+\.(?P<host>.+)-(?P<process>\d+)-\d+\.tmp")


@contextlib.contextmanager
def temporary_folder(parts: Path, name: str) -> Iterator[Path]:
    """A folder for the files of a part; removed at the end, unless it has got its final name.

    Args:
        parts: the folder of all parts.
        name: of the part.

    Raises:
        StoreError: when something cannot be written.
    """
    owner = f"{platform.node() or 'host'}-{os.getpid()}-{secrets.randbelow(10**9):09}"
    temporary = parts / f".{name}.{owner}.tmp"
    try:
        parts.mkdir(parents=True, exist_ok=True)
        temporary.mkdir()
        yield temporary
    except OSError as error:
        reason = error.strerror or error
        raise StoreError(
            f"cannot write {parts / name}: {reason}; parts committed earlier are intact. Free some space "
            "or fix the permissions, and run the same command again"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def place_folder(temporary: Path, folder: Path, files: Mapping[Path, str]) -> None:
    """Rename a complete folder; one of that name with the same bytes, by another writer, stays.

    Args:
        temporary: of `temporary_folder`.
        folder: its final name.
        files: paths in the final folder, with the SHA-256 of each.

    Raises:
        OSError: when it cannot be renamed.
    """
    sync_folder(temporary)
    for attempt in range(_TRIES):
        try:
            os.replace(temporary, folder)
            break
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST) or attempt == _TRIES - 1:
                raise
        if all(path.is_file() and sha256_file(path) == digest for path, digest in files.items()):
            break
        aside = temporary.with_name(f"{temporary.name.removesuffix('.tmp')}{attempt}.tmp")
        with contextlib.suppress(FileNotFoundError):  # another writer was faster
            os.replace(folder, aside)
        shutil.rmtree(aside, ignore_errors=True)
    sync_folder(folder.parent)


def clear_abandoned(parts: Path) -> None:
    """Remove what interrupted commits have left, but nothing that a process may still be writing.

    Args:
        parts: the folder of all parts.
    """
    for leftover in parts.glob(".*.tmp"):
        if _is_abandoned(leftover):
            shutil.rmtree(leftover, ignore_errors=True)
            with contextlib.suppress(OSError):  # it was a folder
                leftover.unlink()


def _is_abandoned(leftover: Path) -> bool:
    """Whether nobody is writing there: its process has ended, or is elsewhere and has long done nothing."""
    owned = _OWNED.fullmatch(leftover.name)
    if owned is None:
        return True
    if owned["host"] == (platform.node() or "host"):
        return not _is_running(int(owned["process"]))
    try:
        changed = max(path.stat().st_mtime for path in (leftover, *leftover.iterdir()))
    except OSError:  # it is gone, or changing
        return False
    return time.time() - changed > ABANDONED_S


def _is_running(process: int) -> bool:
    if process == os.getpid():
        return False  # this process commits nothing while it lists commits
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
