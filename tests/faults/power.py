"""What a disk holds after a power failure, computed from the journal of `shim.c`.

Nothing is promised about what was not synced. A file's bytes are safe up to their last `fsync`; of what
was written afterwards, a random number of blocks of 4096 bytes is left, or nothing. A name (created,
renamed, removed) is safe once its folder was synced; of the other changes of names, the first few have
reached the disk, in their order, and the rest are undone.
"""

from __future__ import annotations

import os
import random
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.harness import backups_of

__all__ = ["BLOCK", "lose_power"]

BLOCK = 4096
"""Bytes of a block."""


@dataclass(frozen=True, slots=True)
class _Change:
    """A change of a name: `C`reated, `R`enamed, `U`nlinked or a folder removed (`X`).

    Args:
        what: see above.
        folder, name: of the entry; for a renaming, the old one.
        inode: of the file or folder.
        kept: number of the file that was replaced or removed, in the folder of backups; 0 for none.
        new_folder, new_name: for a renaming.
    """

    what: str
    folder: int
    name: str
    inode: int
    kept: int = 0
    new_folder: int = 0
    new_name: str = ""

    @property
    def folders(self) -> set[int]:
        """Those that must be synced for the change to be safe."""
        return {self.folder, self.new_folder or self.folder}


@dataclass(slots=True)
class _Journal:
    """A journal, read.

    Args:
        changes: of names that are not safe, in their order.
        safe: of each file that was written, the bytes that are.
    """

    changes: list[_Change] = field(default_factory=list)
    safe: dict[int, int] = field(default_factory=dict)


def lose_power(root: Path, journal: Path, draw: random.Random) -> list[str]:
    """Change the files below `root` to what a disk may hold after a power failure.

    Args:
        root: the folder that the file layer watched.
        journal: that it wrote.
        draw: chooses what was lost.

    Returns:
        A line about each loss.
    """
    read = _read(journal)
    lost = [f"lost the change {change}" for change in _undo(root, read, backups_of(journal), draw)]
    for path in sorted(root.rglob("*")):
        about = path.lstat()
        safe = read.safe.get(about.st_ino)
        if path.is_file() and not path.is_symlink() and safe is not None and safe < about.st_size:
            left = draw.choice((safe, _blocks(safe, about.st_size, draw)))
            if left < about.st_size:
                os.truncate(path, left)
                lost.append(f"cut {path.relative_to(root)} from {about.st_size} to {left} bytes")
    return lost


def _blocks(safe: int, size: int, draw: random.Random) -> int:
    """A multiple of the block size from `safe` to `size`, or `safe` if there is none."""
    first, last = -(-safe // BLOCK), size // BLOCK
    return draw.randint(first, last) * BLOCK if first <= last else safe


def _read(journal: Path) -> _Journal:
    read = _Journal()
    for line in journal.read_text(errors="surrogateescape").splitlines() if journal.exists() else ():
        what, *values = line.split("\t")
        if what == "W":
            read.safe.setdefault(int(values[0]), 0)
        elif what == "S":
            inode, size = map(int, values)
            read.safe[inode] = size
            read.changes = [change for change in read.changes if not change.folders <= {inode}]
        elif what == "R":
            folder, name, new_folder, new_name, inode, kept = values
            read.changes.append(
                _Change(what, int(folder), name, int(inode), int(kept), int(new_folder), new_name)
            )
        else:
            folder, name, inode, *kept_number = values
            read.changes.append(_Change(what, int(folder), name, int(inode), int(*kept_number or (0,))))
            if what == "C":
                read.safe[int(inode)] = 0
    return read


def _undo(root: Path, read: _Journal, backups: Path, draw: random.Random) -> list[_Change]:
    """Undo the last of the unsafe changes, from the last one back; returns them."""
    undone = read.changes[draw.randint(0, len(read.changes)) :]
    moved: dict[int, Path] = {}
    for change in reversed(undone):
        folders = {path.stat().st_ino: path for path in (root, *root.rglob("*")) if path.is_dir()} | moved
        if change.folder not in folders:
            continue
        place = folders[change.folder] / change.name
        if change.what == "C" and place.exists():
            shutil.rmtree(place) if place.is_dir() else place.unlink()
        elif change.what == "X":
            place.mkdir()
            moved[change.inode] = place
        elif change.what == "R":
            new = folders[change.new_folder] / change.new_name
            if new.exists():
                os.replace(new, place)
        if change.kept:
            back = folders[change.new_folder or change.folder] / (change.new_name or change.name)
            os.link(backups / str(change.kept), back)
    return undone
