"""Tables and parts that are written in a folder of their own and moved to their places when all are done.

Whatever fails before that leaves an index as it was.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from pipeline.errors import StoreError
from pipeline.store.files import make_folder, sync_folder

__all__ = ["publish_tables", "remove_stage", "staging"]

_STAGE = ".staged.tmp"
"""Folder in OUT, so that moving is renaming."""


@contextlib.contextmanager
def staging(out: Path) -> Iterator[Path]:
    """An empty folder inside OUT, removed at the end; OUT must be locked.

    Raises:
        StoreError: when it cannot be created.
    """
    stage = out / _STAGE
    shutil.rmtree(stage, ignore_errors=True)
    make_folder(stage)
    try:
        yield stage
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def remove_stage(out: Path) -> None:
    """Remove what a command left that was ended while it removed its own; OUT must be locked."""
    shutil.rmtree(out / _STAGE, ignore_errors=True)


def publish_tables(stage: Path, out: Path, names: Iterable[str]) -> None:
    """Move tables to OUT, each in place of the one of the same name.

    Raises:
        StoreError: when one cannot be moved.
    """
    try:
        for name in names:
            os.replace(stage / f"{name}.parquet", out / f"{name}.parquet")
        sync_folder(out)
    except OSError as error:
        raise StoreError(
            f"cannot write into {out}: {error.strerror or error}; fix the permissions, and run the same "
            "command again"
        ) from error
