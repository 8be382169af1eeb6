"""Which version of each object the files of a working copy are, as a file that only grows.

Each line is a JSON list: name, size and version at the storage, size and time of change of the file. A later
line replaces an earlier one; a line that is not whole is ignored.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.remote.objects import ObjectInfo

__all__ = ["Entry", "Ledger"]


@dataclass(frozen=True, slots=True)
class Entry:
    """A file that was fetched or put.

    Args:
        info: of its object at that time.
        size: of the file in bytes.
        changed: when the file was last changed, in nanoseconds.
    """

    info: ObjectInfo
    size: int
    changed: int


class Ledger:
    """The entries by name.

    Args:
        path: of the file; read if it exists.
    """

    def __init__(self, path: Path) -> None:
        self._entries: dict[str, Entry] = dict(_read(path))
        temporary = path.with_name(f"{path.name}.new")
        with temporary.open("w", encoding="utf-8") as file:
            file.writelines(_line(name, entry) for name, entry in self._entries.items())
        os.replace(temporary, path)
        self._path = path

    def __getitem__(self, name: str) -> Entry | None:
        """The entry of a name, if there is one."""
        return self._entries.get(name)

    def names(self) -> list[str]:
        """All names."""
        return list(self._entries)

    def record(self, name: str, info: ObjectInfo, stat: os.stat_result) -> None:
        """Note that a file is the object, as long as it has this size and time of change."""
        self._write(name, Entry(info, stat.st_size, stat.st_mtime_ns))

    def forget(self, name: str) -> None:
        """Note that there is no such object."""
        if name in self._entries:
            self._write(name, None)

    def has(self, name: str, path: Path) -> bool:
        """Whether a file is as it was recorded."""
        entry = self._entries.get(name)
        try:
            stat = path.stat()
        except OSError:
            return False
        return entry is not None and (stat.st_size, stat.st_mtime_ns) == (entry.size, entry.changed)

    def _write(self, name: str, entry: Entry | None) -> None:
        if entry is None:
            del self._entries[name]
        else:
            self._entries[name] = entry
        with self._path.open("a", encoding="utf-8") as file:
            file.write(_line(name, entry))


def _line(name: str, entry: Entry | None) -> str:
    fields = [] if entry is None else [entry.info.size, entry.info.version, entry.size, entry.changed]
    return f"{json.dumps([name, *fields])}\n"


def _read(path: Path) -> Iterator[tuple[str, Entry]]:
    found: dict[str, Entry] = {}
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    for line in lines:
        try:
            name, *fields = json.loads(line)
            if fields:
                size, version, here, changed = fields
                found[str(name)] = Entry(ObjectInfo(int(size), str(version)), int(here), int(changed))
            else:
                found.pop(str(name), None)
        except (ValueError, TypeError):
            continue
    yield from found.items()
