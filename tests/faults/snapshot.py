"""What a folder of an index holds, in a form that is equal for equal results."""

from __future__ import annotations

import hashlib
import io
import json
import re
from pathlib import Path

from PIL import Image

__all__ = ["differences", "snapshot"]

LOCKS = re.compile(r"\.[a-z.]*lock")
"""Names of files that stay empty."""

DATES = re.compile(rb"/(CreationDate|ModDate) \(D:[^)]*\)|/(Creation|Mod)Date\s*<[^>]*>")
"""The dates in a PDF."""


def snapshot(out: Path) -> dict[str, str]:
    """Digests of all files of an index: of the bytes of tables, of the pixels of pictures.

    Times are left out, and so are lock files. A temporary file that was left lying is in it.
    """
    files = (path for path in sorted(out.rglob("*")) if path.is_file() and not LOCKS.fullmatch(path.name))
    return {str(path.relative_to(out)): hashlib.sha256(_content(path)).hexdigest() for path in files}


def _content(path: Path) -> bytes:
    data = path.read_bytes()
    if path.name.endswith(".png"):
        with Image.open(io.BytesIO(data)) as picture:
            return repr((picture.size, picture.mode)).encode() + picture.tobytes()
    if path.name.endswith(".pdf"):
        return DATES.sub(b"", data)
    if path.name == "run.json":
        run = json.loads(data)
        for name in ("timings", "sha256"):  # the second is of the file itself
            run.pop(name, None)
        return json.dumps(run, sort_keys=True).encode()
    return data


def differences(found: dict[str, str], expected: dict[str, str]) -> list[str]:
    """A line about each file that is missing, too many, or of other content."""
    lines = [f"{name} is missing" for name in sorted(expected.keys() - found.keys())]
    lines += [f"{name} should not be there" for name in sorted(found.keys() - expected.keys())]
    both = sorted(expected.keys() & found.keys())
    return lines + [f"{name} has other content" for name in both if found[name] != expected[name]]
