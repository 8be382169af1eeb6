"""Temporary files that interrupted commands left in the folder of an index.

Every command that writes there holds a shared lock. One that finds itself alone removes what others
left before it; beside a running one, whose temporary files look the same, it removes nothing.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from pipeline.errors import StoreError, WrongFolder
from pipeline.store.layout import (
    DISSECTION_TABLE,
    EMBEDDINGS_TABLE,
    INDEX_TABLES,
    NAMES_TABLE,
    RENDERS_TABLE,
    SEMANTICS_TABLE,
    THUMBNAILS_TABLE,
)
from pipeline.store.locks import lock_refused
from pipeline.store.run_file import RUN_FILE
from pipeline.working_copies import publish

__all__ = ["SPILL", "writing"]

SPILL = ".spill"
"""Folder in OUT to which DuckDB spills."""

_LOCK = ".writers.lock"

_TEMPORARY = re.compile(r"\.(?P<name>.+)\.\d+\.tmp")
"""Names of `pipeline.store.files.atomic_path`."""

_SPILLED = re.compile(r"duckdb_temp_.+")
"""Names of DuckDB's files in its temporary folder."""

_WRITTEN = {
    "parts": ("", (".json",)),
    "renders": ("**/", (".png", ".checkpoint")),
    "sheets": ("", (".png", ".pdf")),
    "projections": ("*/", (".png",)),
    "prior": ("", (".pt",)),
    "robust": ("", (".pt",)),
    "atlas": ("**/", (".files", ".html", ".js", ".css", ".webp", ".png", ".txt")),
}
"""Folders in OUT: the pattern of their subfolders and the endings of what is written there."""


@contextlib.contextmanager
def writing(out: Path, *, alone: bool = False) -> Iterator[None]:
    """Hold the shared lock on a folder; remove what interrupted commands left, if no other is running.

    What was written into a working copy is at its address when the context ends without an error.

    Args:
        out: the folder; created if it does not exist.
        alone: keep other commands from writing there.

    Raises:
        StoreError: when it cannot be created, written to or locked, or must be `alone` and is not.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(out / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    except (FileExistsError, NotADirectoryError) as error:
        raise WrongFolder(f"{out} is not a folder; give a folder or a new name") from error
    except OSError as error:
        raise StoreError(f"cannot write into {out}: {error.strerror or error}") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if alone or not isinstance(error, BlockingIOError):
                raise lock_refused(out, error) from error
        else:
            _remove_leftovers(out)
        if not alone:
            fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield
        publish(out)
    finally:
        os.close(descriptor)


def _remove_leftovers(out: Path) -> None:
    """Remove temporary files; one that cannot be removed is left."""
    for path in list(_leftovers(out)):
        with contextlib.suppress(OSError):
            path.unlink()
    spill = out / SPILL
    if spill.is_dir() and not spill.is_symlink() and all(_SPILLED.fullmatch(p.name) for p in spill.iterdir()):
        shutil.rmtree(spill, ignore_errors=True)


def _leftovers(out: Path) -> Iterator[Path]:
    named = {NAMES_TABLE, EMBEDDINGS_TABLE, SEMANTICS_TABLE, DISSECTION_TABLE}
    tables = {*INDEX_TABLES, *named, RENDERS_TABLE, THUMBNAILS_TABLE, RUN_FILE}
    yield from (path for path in out.glob(".*.tmp") if _final_name(path) in tables)
    for folder, (below, endings) in _WRITTEN.items():
        for path in (out / folder).glob(f"{below}.*.tmp"):
            if _final_name(path).endswith(endings):
                yield path


def _final_name(path: Path) -> str:
    """The name that a temporary file would have got; empty for any other file."""
    match = _TEMPORARY.fullmatch(path.name)
    return match["name"] if match and path.is_file() and not path.is_symlink() else ""
