"""An atlas in one file, to be sent to somebody."""

from __future__ import annotations

import zipfile
from pathlib import Path

from pipeline.errors import StoreError, UsageError
from pipeline.progress import Reporter
from pipeline.store.atlas_record import ATLAS_FOLDER, read_record
from pipeline.store.files import atomic_path

__all__ = ["ENDING", "refuse_target", "zip_atlas"]

ENDING = ".zip"

COMPRESSED = (".webp", ".png")
"""Files that do not become smaller."""

DATE = (1980, 1, 1, 0, 0, 0)
"""Of every file, so that the same atlas gives the same archive; the earliest that the format knows."""


def refuse_target(out: Path, target: Path, ending: str) -> None:
    """Refuse a file to write that has another ending, is a folder, or lies in the atlas.

    Raises:
        UsageError: names it.
    """
    if target.suffix.lower() != ending:
        raise UsageError(f"{target} would be written; give a name that ends in {ending}")
    if target.is_dir():
        raise UsageError(f"{target} is a folder; give the name of a file")
    if target.resolve().is_relative_to((out / ATLAS_FOLDER).resolve()):
        raise UsageError(f"{target} lies in the atlas; give a file outside of {out / ATLAS_FOLDER}")


def zip_atlas(out: Path, target: Path, reporter: Reporter) -> int:
    """Write all files of the atlas of an index into a ZIP archive, below a folder `atlas`.

    Args:
        out: folder of the index, with a finished atlas.
        target: the archive; replaced if it exists.
        reporter: shows the progress.

    Returns:
        The size of the archive in bytes.

    Raises:
        StoreError: when a file cannot be read or written.
        UsageError: when the target has another ending, is a folder or lies in the atlas.
    """
    refuse_target(out, target, ENDING)
    folder = out / ATLAS_FOLDER
    record = read_record(folder)
    names = sorted(record.files) if record else []
    with (
        atomic_path(target) as temporary,
        zipfile.ZipFile(temporary, "w") as archive,
        reporter.task("writing archive", len(names), "files") as task,
    ):
        for name in names:
            entry = zipfile.ZipInfo(f"{ATLAS_FOLDER}/{name}", DATE)
            entry.external_attr = 0o644 << 16
            stored = name.endswith(COMPRESSED)
            entry.compress_type = zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED
            archive.writestr(entry, _read(folder / name))
            task.advance()
    return target.stat().st_size


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise StoreError(
            f"{path} cannot be read: {error.strerror or error}; build the atlas again"
        ) from error
