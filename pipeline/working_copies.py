"""Folders of this machine that stand for an OUT at an address, such as `s3://bucket/run`.

`pipeline.remote` makes such a folder and registers it here. All other code reads and writes it as any
folder, and says here which files it is about to read, which it has finished and which it has removed. In a
folder that is no working copy nothing of that does anything.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

__all__ = [
    "WorkingCopy",
    "address_of",
    "copy_of",
    "is_address",
    "names_at",
    "publish",
    "pull",
    "register",
    "shown",
    "unregister",
    "withdraw",
]


class WorkingCopy(Protocol):
    """The files of an OUT at an address, as far as they are in a folder of this machine."""

    @property
    def address(self) -> str:
        """Where the files belong, without credentials."""

    def pull(self, patterns: tuple[str, ...]) -> None:
        """Make the files that match patterns in the folder those at the address."""

    def names(self, patterns: tuple[str, ...]) -> set[str]:
        """Names of the files at the address that match patterns."""

    def publish(self, patterns: tuple[str, ...]) -> None:
        """Write what was written into the folder to the address, and remove what was withdrawn."""

    def withdraw(self, name: str) -> None:
        """Note that a file or folder was removed."""


_COPIES: dict[Path, WorkingCopy] = {}


def is_address(text: object) -> bool:
    """Whether this is the address of a folder and not the path of one."""
    return isinstance(text, str) and "://" in text


def register(folder: Path, copy: WorkingCopy) -> None:
    """Note that a folder, given by its absolute path, is a working copy."""
    _COPIES[folder] = copy


def unregister(folder: Path) -> None:
    """Note that a folder is a working copy no more."""
    _COPIES.pop(folder, None)


def copy_of(out: Path) -> WorkingCopy | None:
    """The working copy in a folder, if it is one."""
    return _COPIES.get(out)


def address_of(out: Path | str) -> str:
    """The address that a folder stands for; the path of any other folder."""
    copy = _COPIES.get(Path(out)) if _COPIES else None
    return str(out) if copy is None else copy.address


def pull(out: Path, *patterns: str) -> None:
    """Make files of a working copy those at its address.

    Args:
        out: a folder.
        patterns: of names relative to it: `*` for the files in the folder itself, `parts/*` for all that is
            below `parts`, or the name of one file.

    Raises:
        StoreError: when they cannot be read.
    """
    if (copy := _COPIES.get(out)) is not None:
        copy.pull(patterns)


def names_at(out: Path, *patterns: str) -> set[str]:
    """Names of the files at the address of a working copy that match patterns, as for `pull`.

    Raises:
        StoreError: when they cannot be listed.
    """
    copy = _COPIES.get(out)
    return set() if copy is None else copy.names(patterns)


def publish(out: Path, *patterns: str) -> None:
    """Write what was written into a working copy to its address, and remove what was withdrawn.

    Args:
        out: a folder.
        patterns: of names relative to it, as `Path.glob` reads them; all files for none.

    Raises:
        StoreError: when it cannot be written.
    """
    if (copy := _COPIES.get(out)) is not None:
        copy.publish(patterns)


def withdraw(path: Path) -> None:
    """Note that a file or a folder was removed, so that it is removed at the address with the next `publish`.

    What only vanishes from a working copy stays at the address.
    """
    for folder, copy in _COPIES.items():
        if path.is_relative_to(folder):
            copy.withdraw(path.relative_to(folder).as_posix())


def shown(text: str) -> str:
    """A message with addresses in place of the folders that stand for them."""
    for folder, copy in _COPIES.items():
        text = text.replace(str(folder), copy.address)
    return text
