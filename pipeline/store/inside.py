"""Paths that an index names: they lie in its folder, whatever it says."""

from __future__ import annotations

import errno
from pathlib import Path, PurePosixPath

from pipeline.errors import StoreError

__all__ = ["inside"]


def inside(out: Path, name: str | Path, *, folder: str = "") -> Path:
    """The path of a file of an index; neither the name nor a link may lead out of its folder.

    Args:
        out: folder of the index.
        name: of the file, relative to it.
        folder: in which it must lie, relative to OUT.

    Raises:
        StoreError: when it is absolute, contains `..`, lies elsewhere, or a link leads out of OUT.
    """
    text = name.as_posix() if isinstance(name, Path) else str(name)
    relative = PurePosixPath(text)
    wanted = PurePosixPath(folder)
    plain = not relative.is_absolute() and ".." not in relative.parts and not set(text) & {"\\", "\0"}
    if not plain or relative == wanted or not relative.is_relative_to(wanted):
        place = f"{out}/{folder}" if folder else str(out)
        raise StoreError(f"{out} names the file {text!a}, which is not below {place}; it is not used")
    try:
        resolved, root = (out / relative).resolve(), out.resolve()
        _refuse_circle(out / relative)
    except (OSError, RuntimeError, ValueError) as error:
        raise StoreError(f"{out} names the file {text!a}, which cannot be resolved: {error}") from error
    if not resolved.is_relative_to(root):
        raise StoreError(
            f"{out / relative} leads out of the index, to {resolved}; replace the link by a file or folder"
        )
    return out / relative


def _refuse_circle(path: Path) -> None:
    """Raise OSError for links in a circle, of which `Path.resolve` says nothing from Python 3.13 on."""
    try:
        path.stat()
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise
