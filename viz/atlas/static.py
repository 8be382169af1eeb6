"""The files that every atlas has: style sheets, script and typeface.

The typeface lies in a style sheet: a font file would arrive after the first paint, and move the text.
"""

from __future__ import annotations

import base64
from importlib import resources

from viz.atlas.files import AtlasFiles, digest_of
from viz.sheets.typography import FONTS

__all__ = ["static_files", "write_static"]

STATIC = ("atlas.css", "atlas.js")

WEIGHTS = {400: "Regular", 500: "Medium", 600: "SemiBold"}

LICENCE = "LICENSE-Inter.txt"


def static_files() -> dict[str, bytes]:
    """Their contents, by name."""
    sources = {name: resources.files("viz.atlas") / "static" / name for name in STATIC}
    contents = {name: source.read_bytes() for name, source in sources.items()}
    contents["fonts.css"] = "".join(map(_font_face, WEIGHTS)).encode("ascii")
    contents[LICENCE] = (FONTS / LICENCE).read_bytes()
    return contents


def write_static(files: AtlasFiles) -> None:
    """Write them.

    Raises:
        StoreError: when a file cannot be written.
    """
    for name, data in static_files().items():
        key = digest_of(data)
        if not files.has(name, key):
            files.write(name, key, data)


def _font_face(weight: int) -> str:
    data = base64.b64encode((FONTS / f"Inter-{WEIGHTS[weight]}.otf").read_bytes()).decode("ascii")
    return (
        f"@font-face {{ font-family: Inter; font-weight: {weight}; font-display: block; "
        f"src: url(data:font/otf;base64,{data}) format('opentype'); }}\n"
    )
