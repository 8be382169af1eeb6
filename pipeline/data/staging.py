"""Temporary folders for datasets that are built or downloaded."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["staging_folder"]


@contextmanager
def staging_folder(final: Path) -> Iterator[Path]:
    """Create a temporary folder beside `final`, to be renamed by the caller, and remove it at the end.

    Args:
        final: the folder that the temporary one will become; its parents are created.
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{final.name}-", dir=final.parent))
    try:
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)
