"""The record of an atlas: from which index it was made, and which files in OUT/atlas it consists of.

The first line of `.files` has the fingerprint of the index. Every other has a key, which is a digest of
what a file was made from, its size and its name. A name that is not below the atlas, or that a link leads
out of OUT, is no part of the record: a file that somebody else wrote can remove nothing.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.errors import StoreError
from pipeline.store.files import atomic_path
from pipeline.store.inside import inside
from pipeline.working_copies import withdraw

__all__ = [
    "ATLAS_FOLDER",
    "RECORD",
    "AtlasRecord",
    "Entry",
    "atlas_files",
    "read_record",
    "record_line",
    "remove_atlas",
    "write_record",
]

ATLAS_FOLDER = "atlas"
"""Folder of the atlas in OUT."""

RECORD = ".files"
"""Name of the record in the folder of the atlas."""

_HEAD = re.compile(r"maxact\.fingerprint ([0-9a-f]+)")

_LINE = re.compile(r"([0-9a-f]{32}) (\d+) ((?:[\w-][\w.-]*/)*[\w-][\w.-]*)", re.ASCII)
"""One line of the record; no part of a name starts with a dot."""

Entry = tuple[str, int]
"""Key and size of a file."""


@dataclass(frozen=True, slots=True)
class AtlasRecord:
    """What a record says.

    Args:
        fingerprint: of the index that the atlas was made from; None if it does not say.
        files: key and size by name, relative to the folder of the atlas.
    """

    fingerprint: str | None
    files: Mapping[str, Entry] = field(default_factory=dict)


def read_record(folder: Path) -> AtlasRecord | None:
    """Read the record of an atlas; lines that are not whole are ignored.

    Args:
        folder: of the atlas.

    Returns:
        The record; None if the folder has none.

    Raises:
        StoreError: when it cannot be read.
    """
    try:
        lines = (folder / RECORD).read_text(encoding="utf-8", errors="replace").splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise StoreError(f"{folder / RECORD} cannot be read: {error.strerror or error}") from error
    head = _HEAD.fullmatch(lines[0]) if lines else None
    found = (_LINE.fullmatch(line) for line in lines)
    return AtlasRecord(head[1] if head else None, {m[3]: (m[1], int(m[2])) for m in found if m})


def atlas_files(out: Path) -> set[Path]:
    """The files in OUT that an atlas consists of, with its record.

    Raises:
        StoreError: when the record cannot be read.
    """
    folder = out / ATLAS_FOLDER
    record = read_record(folder)
    return set() if record is None else {folder / RECORD, *(folder / name for name in record.files)}


def record_line(name: str, entry: Entry) -> str:
    """The line of a file."""
    key, size = entry
    return f"{key} {size} {name}\n"


def write_record(folder: Path, record: AtlasRecord) -> None:
    """Write a record, with the files in the order of their names.

    Raises:
        StoreError: when it cannot be written.
    """
    lines = "".join(record_line(name, entry) for name, entry in sorted(record.files.items()))
    with atomic_path(folder / RECORD) as temporary:
        temporary.write_text(f"maxact.fingerprint {record.fingerprint}\n{lines}", encoding="utf-8")


def remove_atlas(out: Path, *, keep: str, unmarked: str = "") -> int:
    """Remove the files of an atlas that was made from another index, and folders that are empty then.

    Args:
        out: folder of the index.
        keep: fingerprint of the index whose atlas stays.
        unmarked: fingerprint of the index to which an atlas belongs that does not say.

    Returns:
        The number of files removed.

    Raises:
        StoreError: when the record cannot be read.
        OSError: when a file cannot be removed.
    """
    record = read_record(out / ATLAS_FOLDER)
    if record is None or (record.fingerprint or unmarked) == keep:
        return 0
    count = 0
    folders = {out / ATLAS_FOLDER}
    for name in record.files:
        with contextlib.suppress(StoreError):  # a link leads elsewhere
            path = inside(out, f"{ATLAS_FOLDER}/{name}", folder=ATLAS_FOLDER)
            count += path.is_file()
            path.unlink(missing_ok=True)
            withdraw(path)
            folders.update(parent for parent in path.parents if parent.is_relative_to(out / ATLAS_FOLDER))
    (out / ATLAS_FOLDER / RECORD).unlink(missing_ok=True)
    withdraw(out / ATLAS_FOLDER / RECORD)
    for each in sorted(folders, reverse=True):
        with contextlib.suppress(OSError):  # it has other files
            each.rmdir()
    return count
