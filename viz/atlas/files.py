"""The files of an atlas: written only when they change, recorded, and removed when they are not needed.

The record `.files` has a line for every file: a key, which is a digest of what the file was made from,
its size and its name. A line is added when a file has been written, so that an interrupted build goes on
where it stopped. Files are replaced atomically but not synced one by one, which would take longer than
to draw them; one that a power failure cut off has another size than recorded, and is written again.
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import Self, TextIO

from pipeline.errors import StoreError
from pipeline.store.files import atomic_path, make_folder

__all__ = ["AtlasFiles", "digest_of"]

RECORD = ".files"
"""Name of the record in the atlas's folder."""

_LINE = re.compile(r"([0-9a-f]{32}) (\d+) ((?:[\w.-]+/)*[\w.-]+)")
"""One line of the record; a name cannot leave the folder, as `..` is refused besides."""


def digest_of(*parts: object) -> str:
    """A digest of values with a stable `repr`, 32 hexadecimal digits."""
    return hashlib.blake2b(repr(parts).encode("utf-8", "backslashreplace"), digest_size=16).hexdigest()


class AtlasFiles:
    """The files below one folder, for the length of a build; use it as a context manager.

    Args:
        folder: of the atlas; created if it does not exist.

    Raises:
        StoreError: when the folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        make_folder(folder)
        self._recorded = _read_record(folder / RECORD)
        self._used: set[str] = set()
        self._record: TextIO | None = None

    def __enter__(self) -> Self:
        try:
            self._record = (self.folder / RECORD).open("a", encoding="utf-8")
        except OSError as error:
            raise StoreError(f"cannot write into {self.folder}: {error.strerror or error}") from error
        return self

    def __exit__(self, *_: object) -> None:
        if self._record is not None:
            self._record.close()

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
            StoreError: when it cannot be written.
        """
        path = self.folder / name
        temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(data)
            temporary.replace(path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise StoreError(f"cannot write {path}: {error.strerror or error}") from error
        self._recorded[name] = (key, len(data))
        self._used.add(name)
        if self._record is not None:
            self._record.write(f"{key} {len(data)} {name}\n")
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
            (self.folder / name).unlink(missing_ok=True)
            del self._recorded[name]
        lines = "".join(f"{key} {size} {name}\n" for name, (key, size) in sorted(self._recorded.items()))
        with atomic_path(self.folder / RECORD) as temporary:
            temporary.write_text(lines, encoding="utf-8")
        return sum(size for _, size in self._recorded.values())


def _size(path: Path) -> int:
    """The size of a file, -1 where there is none."""
    try:
        return path.stat().st_size
    except OSError:
        return -1


def _read_record(path: Path) -> dict[str, tuple[str, int]]:
    """Key and size by name; lines that are not whole are ignored, so that those files are written again."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return {}
    found = [_LINE.fullmatch(line) for line in lines]
    return {m[3]: (m[1], int(m[2])) for m in found if m and ".." not in m[3].split("/")}
