"""The working copy of an OUT at an address: which files are fetched, and in which order files are put.

The address is what counts. A file of the folder is used if it is the version that is listed there; all others
are fetched again, and files that are not listed are removed, except what this process has written and not put
yet. Whoever stops between two files leaves at the address what a run on a local disk leaves that stops there:

    1. the files of parts, pictures and pages
    2. commit files
    3. removed parts, their commit files first
    4. tables in OUT itself, the record of the atlas
    5. run.json
    6. other files that were removed, run.json last
"""

from __future__ import annotations

import contextlib
import fnmatch
import os
import re
import shutil
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from pipeline.errors import StoreError
from pipeline.remote.commits import is_commit, keeps_theirs, part_of
from pipeline.remote.ledger import Ledger
from pipeline.remote.objects import ObjectInfo, Objects, together
from pipeline.remote.same_run import refuse_other_run
from pipeline.store.files import make_folder

__all__ = ["Mirror"]

_RUN = "run.json"

_RECORD = "atlas/.files"
"""The one file of an index whose name starts with a dot."""

_FOLDERS = ("parts", "renders", "sheets", "projections", "prior", "robust", "atlas")
"""Folders of an index; other objects below the address are left alone."""

_ROUNDS = 4
"""Listings of a pull at most; it ends as soon as one shows nothing new."""

_PART_FOLDER = re.compile(r"parts(/[0-9a-f]{16})?")

_OWN_PART = re.compile(r"parts/[0-9a-f]{16}(\.json|/[\w.]+)")


class Mirror:
    """A folder that has files of an OUT at an address; see `pipeline.working_copies.WorkingCopy`.

    What an ended process has left there and not put is removed.

    Args:
        objects: at the address.
        folder: of this machine; no other process may use it.
        ledger: path of the file that says what the folder has.
    """

    def __init__(self, objects: Objects, folder: Path, ledger: Path) -> None:
        self._objects, self._folder = objects, folder
        self._lock = threading.RLock()
        self._withdrawn: set[str] = set()
        make_folder(folder)
        self._ledger = Ledger(ledger)
        for name in list(self._names(("**/*",))):
            if not self._ledger.has(name, folder / name):
                (folder / name).unlink()

    @property
    def address(self) -> str:
        """Where the files belong, without credentials."""
        return self._objects.address.url

    def pull(self, patterns: Sequence[str]) -> None:
        """Make the files that match patterns those at the address; see `pipeline.working_copies.pull`."""
        with self._lock:
            for _ in range(_ROUNDS):
                listed = self._listed(patterns)
                stale = [name for name, info in listed.items() if not self._is_current(name, info)]
                self._remove_unlisted(patterns, listed)
                if not stale:
                    return
                together(lambda item: self._fetch(*item), [(name, listed[name]) for name in stale])

    def names(self, patterns: Sequence[str]) -> set[str]:
        """Names of the files at the address that match; see `pipeline.working_copies.names_at`."""
        return set(self._listed(patterns))

    def withdraw(self, name: str) -> None:
        """Note that a file or folder was removed; see `pipeline.working_copies.withdraw`."""
        with self._lock:
            self._withdrawn.add(name)

    def publish(self, patterns: Sequence[str]) -> None:
        """Put what has changed and remove what was withdrawn, in the order of this module."""
        with self._lock:
            changed = [name for name in self._names(patterns or ("**/*",)) if not self._is_put(name)]
            commits = [name for name in changed if is_commit(name)]
            tables = [name for name in changed if "/" not in name and name != _RUN]
            last = [*tables, *(name for name in changed if name == _RECORD)]
            if _RUN in changed:
                refuse_other_run(self._objects, self._folder / _RUN, self._ledger[_RUN])
            first = set(changed) - {*commits, *last, _RUN}
            for commit in list(commits):
                if keeps_theirs(self._objects, self._folder, commit):
                    commits.remove(commit)
                    first -= part_of(commit, first)
                    self._drop_part(commit)
            together(self._put, sorted(first))
            together(self._put, commits)
            removed = self._withdrawn_names()
            self._remove(name for name in removed if name.startswith("parts/"))
            together(self._put, last)
            if _RUN in changed:
                self._put(_RUN)
            self._remove(name for name in removed if not name.startswith("parts/"))
            self._withdrawn.clear()

    def _listed(self, patterns: Sequence[str]) -> dict[str, ObjectInfo]:
        """What is at the address and matches."""
        found: dict[str, ObjectInfo] = {}
        for pattern in patterns:
            folder, _, rest = pattern.rpartition("/")
            if not set("*?") & set(pattern):
                info = self._objects.info(pattern)
                found |= {} if info is None else {pattern: info}
            elif set("*?") & set(folder) or (folder and rest == "*") or pattern == "**":
                fixed = folder.partition("*")[0].rpartition("/")[0] if "*" in folder else folder
                listed = self._objects.list(fixed, deep=True)
                found |= {name: each for name, each in listed.items() if _matches(name, pattern)}
            else:
                listed = self._objects.list(folder, deep=False)
                found |= {name: each for name, each in listed.items() if _matches(name, pattern)}
        return {name: info for name, info in found.items() if _is_file_of_index(name)}

    def _is_current(self, name: str, info: ObjectInfo) -> bool:
        """Whether a file is what is listed, or was written by this process and is not put yet, or removed."""
        path, entry = self._folder / name, self._ledger[name]
        if self._is_withdrawn(name) and not path.exists():
            return True
        if not self._ledger.has(name, path):
            return path.is_file()
        return entry is not None and bool(info.version) and entry.info == info

    def _fetch(self, name: str, info: ObjectInfo) -> None:
        path = self._folder / name
        make_folder(path.parent)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            if self._objects.fetch(name, info, temporary):
                os.replace(temporary, path)
                self._ledger.record(name, info, path.stat())
        except OSError as error:
            raise StoreError(
                f"cannot write {path}: {error.strerror or error}; free some space or fix the permissions, "
                "and run the same command again"
            ) from error
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)

    def _remove_unlisted(self, patterns: Sequence[str], listed: Iterable[str]) -> None:
        """Remove files that are no longer at the address."""
        known = set(listed)
        for name in self._ledger.names():
            if name not in known and any(_matches(name, pattern) for pattern in patterns):
                if self._ledger.has(name, self._folder / name):
                    (self._folder / name).unlink()
                self._ledger.forget(name)

    def _names(self, patterns: Sequence[str]) -> Iterator[str]:
        """The files of the folder that match and belong to an index."""
        for pattern in patterns:
            for path in self._folder.glob(pattern):
                name = path.relative_to(self._folder).as_posix()
                if _is_file_of_index(name) and path.is_file():
                    yield name

    def _is_put(self, name: str) -> bool:
        return self._ledger.has(name, self._folder / name)

    def _put(self, name: str) -> None:
        path = self._folder / name
        before = path.stat()  # a file that is written again meanwhile is put again
        self._ledger.record(name, self._objects.put(name, path), before)

    def _drop_part(self, commit: str) -> None:
        """Remove a part of this machine whose name another machine has committed with other bytes."""
        path = self._folder / commit
        path.unlink(missing_ok=True)
        shutil.rmtree(path.with_suffix(""), ignore_errors=True)

    def _is_withdrawn(self, name: str) -> bool:
        return any(name == each or name.startswith(f"{each}/") for each in self._withdrawn)

    def _withdrawn_names(self) -> list[str]:
        """The objects that were withdrawn and not written again; commit files first, run.json last."""
        names = {name for name in self._ledger.names() if self._is_withdrawn(name)}
        names |= {name for name in self._withdrawn if _is_file_of_index(name) and "." in name}
        # Of a part that was never fetched, the ledger has no file.
        for folder in (each for each in self._withdrawn if _PART_FOLDER.fullmatch(each)):
            names |= {name for name in self._objects.list(folder, deep=True) if _OWN_PART.fullmatch(name)}
        gone = [name for name in names if not (self._folder / name).exists()]
        return sorted(gone, key=lambda name: (not is_commit(name), name == _RUN, name))

    def _remove(self, names: Iterable[str]) -> None:
        """Remove objects, commit files before all others and run.json after them."""
        listed = list(names)
        for group in (
            [name for name in listed if is_commit(name)],
            [name for name in listed if not is_commit(name) and name != _RUN],
            [name for name in listed if name == _RUN],
        ):
            together(self._objects.remove, group)
            for name in group:
                self._ledger.forget(name)


def _matches(name: str, pattern: str) -> bool:
    """Whether a name fits; a `*` in a pattern without a slash matches no slash."""
    if "/" not in pattern and pattern != "**":
        return "/" not in name and fnmatch.fnmatchcase(name, pattern)
    return fnmatch.fnmatchcase(name, pattern)


def _is_file_of_index(name: str) -> bool:
    """Whether a file of this name belongs to an index.

    Locks, checkpoints and files that are being written do not: their names start with a dot.
    """
    folder, below, _ = name.partition("/")
    if not below:
        return name == _RUN or name.endswith(".parquet")
    plain = not any(part.startswith(".") for part in name.split("/"))
    return folder in _FOLDERS and (plain or name == _RECORD)
