"""The files that every atlas has: style sheet, script and typeface."""

from __future__ import annotations

from importlib import resources

from viz.atlas.files import AtlasFiles, digest_of
from viz.sheets.typography import FONTS

__all__ = ["write_static"]

STATIC = ("atlas.css", "atlas.js")

TYPEFACES = ("Inter-Regular.otf", "Inter-Medium.otf", "Inter-SemiBold.otf", "LICENSE-Inter.txt")


def write_static(files: AtlasFiles) -> None:
    """Write them.

    Raises:
        StoreError: when a file cannot be written.
    """
    sources = {name: resources.files("viz.atlas") / "static" / name for name in STATIC}
    contents = {name: source.read_bytes() for name, source in sources.items()}
    contents |= {f"fonts/{name}": (FONTS / name).read_bytes() for name in TYPEFACES}
    for name, data in contents.items():
        key = digest_of(data)
        if not files.has(name, key):
            files.write(name, key, data)
