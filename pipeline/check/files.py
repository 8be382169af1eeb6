"""Verifies every file of an index by its recorded digest, without the dataset and the network.

Digests of the tables are in run.json, those of a part's tables in its commit file, those of renderings
in renders.parquet. run.json, commit files, trained files, and the
tables of names, embeddings, what they say of units, and renderings carry their own.
"""

from __future__ import annotations

import os
import re
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pipeline.errors import DamagedFile, StoreError
from pipeline.progress import Reporter, Silent
from pipeline.remote.local import local_folder
from pipeline.runs.names import names_damage
from pipeline.state.commit_file import read_commit
from pipeline.store.atlas_record import atlas_files
from pipeline.store.derived import TRAINED
from pipeline.store.digests import FileDigest, find_damage
from pipeline.store.files import sha256_file
from pipeline.store.final_tables import recorded_tables
from pipeline.store.inside import inside
from pipeline.store.layout import (
    DISSECTION_TABLE,
    EMBEDDINGS_TABLE,
    NAMES_TABLE,
    SEMANTICS_TABLE,
    THUMBNAILS_TABLE,
)
from pipeline.store.peak_files import PEAKS_FILE
from pipeline.store.run_file import RUN_FILE, read_run
from pipeline.store.schemas import LATER_TABLES, RENDERS, SCHEMAS
from pipeline.store.seals import PARQUET, ZIP, is_plain_archive
from pipeline.store.tables import read_sealed_table

__all__ = ["FileReport", "check_files"]

_CHANGED = "was changed after it was written (its SHA-256 differs)"

_COMMIT_NAME = re.compile(r"[0-9a-f]{16}\.json")

_LOCKS = (".lock", ".renders.lock", ".writers.lock", ".atlas.lock")

_DRAWN = ("sheets", "projections")
"""Folders of pages that nothing reads again."""

Damage = tuple[Path, str]
"""A file and what is wrong with it."""


@dataclass(frozen=True, slots=True)
class FileReport:
    """What was found in the folder of an index; paths are relative to it.

    Args:
        verified: files that are as they were written.
        damaged: files that are missing or changed, and what is wrong with each.
        unrecorded: files of the index that have no digest.
        foreign: files and folders that are not part of the index.
    """

    verified: int
    damaged: Mapping[str, str]
    unrecorded: tuple[str, ...]
    foreign: tuple[str, ...]


def check_files(out: Path | str, *, reporter: Reporter | None = None) -> FileReport:
    """Verify every file of an index.

    Args:
        out: folder of an index; of an unfinished one its parts are verified.
        reporter: shows the progress.

    Raises:
        StoreError: when OUT holds no index.
    """
    reporter, files = reporter or Silent(), _Files(local_folder(out, "**"))
    files.add_run()
    files.add_parts()
    files.add_names()
    files.add_renderings()
    files.add_trained()
    damaged: dict[Path, str] = dict(files.damaged)
    with reporter.task("verifying", len(files.checks), "files") as task:
        for verify in files.checks:
            for path, what in verify():
                damaged.setdefault(path, what)
            task.advance()
    drawn, foreign = _others(files.out, files.known | atlas_files(files.out))
    relative = {path.relative_to(files.out).as_posix(): what for path, what in damaged.items()}
    return FileReport(
        verified=len(files.known - files.unrecorded - damaged.keys()),
        damaged=dict(sorted(relative.items())),
        unrecorded=tuple(
            sorted(
                path.relative_to(files.out).as_posix() for path in (files.unrecorded | drawn) - damaged.keys()
            )
        ),
        foreign=foreign,
    )


class _Files:
    """The files that an index has, and how each is verified.

    Args:
        out: folder of the index.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self.run: dict[str, Any] = {}
        self.known: set[Path] = set()
        self.unrecorded: set[Path] = set()
        self.damaged: dict[Path, str] = {}
        self.checks: list[Callable[[], Iterable[Damage]]] = []

    def add_run(self) -> None:
        """run.json, and the tables whose digests it has."""
        path = self.out / RUN_FILE
        try:
            self.run = read_run(self.out)
        except StoreError as error:
            if not path.is_file():
                raise
            self.damaged[path] = _CHANGED if isinstance(error, DamagedFile) else f"is not valid ({error})"
        self.known.add(path)
        if self.run and "sha256" not in self.run:
            self.unrecorded.add(path)
        recorded = recorded_tables(self.run)
        for name in SCHEMAS:
            table = self.out / f"{name}.parquet"
            if name in recorded:
                self._add(table, partial(find_damage, recorded=recorded[name], whole=True))
            elif table.exists():
                self.known.add(table)
                self.unrecorded.add(table)
            elif self.run.get("status") == "complete" and name not in LATER_TABLES:
                self.damaged[table] = "is missing"
        if digest := self.run.get("thumbnails"):
            thumbnails = self.out / THUMBNAILS_TABLE
            self._add(thumbnails, partial(find_damage, recorded=FileDigest(**digest), whole=True))

    def add_parts(self) -> None:
        """Commit files and the tables of their parts."""
        parts = self.out / "parts"
        listed = {parts / f"{name}.json" for name in self.run.get("parts", ())}
        found = {
            path for path in parts.glob("*.json") if _COMMIT_NAME.fullmatch(path.name) and path.is_file()
        }
        self.damaged |= dict.fromkeys(listed - found, "is missing")
        for path in sorted(found):
            if listed and path not in listed:
                continue
            self.known.add(path)
            try:
                commit = read_commit(path)
            except StoreError as error:
                self.damaged[path] = _CHANGED if isinstance(error, DamagedFile) else str(error)
                tables = set(path.with_suffix("").glob("*.parquet"))
                tables |= set(path.with_suffix("").glob(PEAKS_FILE))
                self.known |= tables
                self.unrecorded |= tables
                continue
            if not commit.sealed:
                self.unrecorded.add(path)
            self.known |= commit.files.keys()
            self.checks.append(commit.find_damage)

    def add_names(self) -> None:
        """The tables of names, of embeddings and what these say of units, and of what masks say."""
        path = self.out / NAMES_TABLE
        if path.is_file() or self.run.get("status") == "complete":
            self.checks.append(partial(_examine, path, lambda path: _names_problem(path.parent)))
        if path.is_file():
            self.known.add(path)
        for name in (EMBEDDINGS_TABLE, SEMANTICS_TABLE, DISSECTION_TABLE):
            if (self.out / name).is_file():
                self._add(self.out / name, _sealed_damage)

    def add_renderings(self) -> None:
        """The table of renderings and its pictures."""
        path, folder = self.out / "renders.parquet", self.out / "renders"
        pictures = {file for file in folder.rglob("*.png") if file.is_file()}
        for file in (path for path in folder.glob(".*.checkpoint") if path.is_file()):
            self._add(file, _archive_damage)
        if not path.exists():
            if pictures:
                self.damaged[path] = "is missing, but there are renderings"
            return
        self.known.add(path)
        try:
            rows = read_sealed_table(path, RENDERS).select(["file", "sha256"]).to_pylist()
            files = {inside(self.out, row["file"], folder="renders"): row["sha256"] for row in rows}
        except StoreError as error:
            self.damaged[path] = _CHANGED if isinstance(error, DamagedFile) else f"is not valid ({error})"
            self.known |= pictures
            self.unrecorded |= pictures
            return
        if PARQUET.is_intact(path.read_bytes()) is None:
            self.unrecorded.add(path)
        for file, digest in files.items():
            self._add(file, partial(_picture_damage, sha256=digest))
            if digest is None:
                self.unrecorded.add(file)

    def add_trained(self) -> None:
        """Priors and robust copies, finished or not."""
        for folder in TRAINED:
            for file in sorted(path for path in (self.out / folder).glob("*.pt") if path.is_file()):
                self._add(file, _archive_damage)
                if is_plain_archive(_last_bytes(file)):
                    self.unrecorded.add(file)

    def _add(self, path: Path, find: Callable[[Path], str | None]) -> None:
        """Have a file examined by a function that says what is wrong with it."""
        self.known.add(path)
        self.checks.append(partial(_examine, path, find))


def _examine(path: Path, find: Callable[[Path], str | None]) -> Iterator[Damage]:
    if what := find(path):
        yield path, what


def _names_problem(out: Path) -> str | None:
    try:
        what = names_damage(out)
    except StoreError as error:
        return str(error)
    return what and (what if what == "is missing" else _CHANGED)


def _sealed_damage(path: Path) -> str | None:
    try:
        return None if PARQUET.is_intact(path.read_bytes()) else _CHANGED
    except OSError as error:
        return f"cannot be read ({error.strerror or error})"


def _picture_damage(path: Path, *, sha256: str | None) -> str | None:
    if not path.is_file():
        return "is not a file" if path.exists() else "is missing"
    try:
        found = sha256_file(path)
    except OSError as error:
        return f"cannot be read ({error.strerror or error})"
    return None if sha256 in (None, found) else _CHANGED


def _archive_damage(path: Path) -> str | None:
    """What is wrong with a file of tensors; of earlier versions only the checksums inside are known."""
    try:
        data = path.read_bytes()
        intact = ZIP.is_intact(data)
        if intact is None and is_plain_archive(data):
            with zipfile.ZipFile(path) as archive:
                intact = archive.testzip() is None
    except (OSError, zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
        return f"cannot be read ({error})"
    return None if intact else _CHANGED


def _last_bytes(path: Path) -> bytes:
    with open(path, "rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - 256))
        return file.read()


def _others(out: Path, known: Set[Path]) -> tuple[set[Path], tuple[str, ...]]:
    """Pages that were drawn from the index, and the names of what does not belong to it.

    Files of an atlas are known: they have no digest, and are too many to be listed.
    """
    folders = {parent for path in known for parent in path.parents}
    drawn: set[Path] = set()
    foreign: list[str] = []
    for root, names, files in os.walk(out):
        folder = Path(root)
        pages = folder != out and folder.relative_to(out).parts[0] in _DRAWN
        for name in list(names):
            if not pages and folder / name not in folders and (folder != out or name not in _DRAWN):
                names.remove(name)
                foreign.append(f"{(folder / name).relative_to(out).as_posix()}/")
        for path in (folder / name for name in files):
            if pages and path.suffix in (".png", ".pdf"):
                drawn.add(path)
            elif path not in known and not (folder == out and path.name in _LOCKS):
                foreign.append(path.relative_to(out).as_posix())
    return drawn, tuple(sorted(foreign))
