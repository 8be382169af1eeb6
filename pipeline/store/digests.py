"""Digests of files that are recorded elsewhere, and whether a file is still the one that was written."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

__all__ = ["TAIL_BYTES", "FileDigest", "digest_file", "find_damage"]

TAIL_BYTES = 1 << 16
"""Bytes at the end of a file that are compared when it is opened, in about 0.1 ms. They contain a
Parquet file's footer, which has the place, size and extremes of every column of a row group."""


@dataclass(frozen=True, slots=True)
class FileDigest:
    """What a file was when it was written.

    Args:
        bytes: its size.
        sha256: of its content, in hexadecimal.
        tail: SHA-256 of its last `TAIL_BYTES` bytes, or of all if it has fewer.
    """

    bytes: int
    sha256: str
    tail: str


def digest_file(path: Path) -> FileDigest:
    """Read a file once and describe it.

    Raises:
        OSError: when it cannot be read.
    """
    with open(path, "rb") as file:
        whole = hashlib.file_digest(file, "sha256").hexdigest()
        size = file.tell()
        file.seek(max(0, size - TAIL_BYTES))
        tail = hashlib.file_digest(file, "sha256").hexdigest()
    return FileDigest(size, whole, tail)


def find_damage(path: Path, recorded: FileDigest, *, whole: bool) -> str | None:
    """What is wrong with a file, to follow its name; None if nothing is.

    Args:
        path: of the file.
        recorded: what it was.
        whole: compare all of it, not only its size and its end.
    """
    try:
        if path.exists() and not path.is_file():  # to open a pipe would wait for its writer
            return "is not a file"
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size != recorded.bytes:
                return f"has {size:,} bytes, but {recorded.bytes:,} were written"
            if not whole:
                file.seek(max(0, size - TAIL_BYTES))
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read ({error.strerror or error})"
    expected = recorded.sha256 if whole else recorded.tail
    return None if found == expected else "was changed after it was written (its SHA-256 differs)"
