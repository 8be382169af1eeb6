"""File names for names from strangers: layers are called what a network's author liked.

A plain name is its own file name. Any other becomes a readable part, `~` and a digest of the whole
name, so that two names never share a file: not on file systems that ignore case, not after letters
were replaced, not where a name is too long, reserved (`con`, `aux` on Windows) or leads elsewhere
(`..`).
"""

from __future__ import annotations

import base64
import hashlib
import re
import unicodedata

__all__ = ["MAX_BYTES", "file_name"]

MAX_BYTES = 96
"""Longest file name that `file_name` returns; file systems allow 255 for two of them and an extension."""

_PLAIN = re.compile(r"[a-z0-9_]([a-z0-9_.]*[a-z0-9_])?")
_PLAIN_WITH_DASHES = re.compile(r"[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?")
"""Names that stand for themselves: no capital letters, which some file systems ignore, and no dot at
an end, which Windows removes at one and Unix hides at the other."""

_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)
"""Devices of Windows, with any extension."""

_DIGEST_BYTES = 10
"""80 bits: nobody finds two names with one digest by trying."""


def file_name(name: str, *, dashes: bool = False) -> str:
    """A file or folder name for any text, without an extension; different texts give different names.

    Args:
        name: any text, also with control characters or lone surrogates.
        dashes: whether a dash is plain. Without it, the result has none, and can be the first part
            of a name whose parts are joined by dashes.

    Returns:
        ASCII of at most `MAX_BYTES` letters, of `A-Z a-z 0-9 _ . ~ -`; the text itself if it is plain.
        Names differ also if case is ignored.
    """
    plain = _PLAIN_WITH_DASHES if dashes else _PLAIN
    if plain.fullmatch(name) and len(name) <= MAX_BYTES and not _RESERVED.fullmatch(name):
        return name
    digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=_DIGEST_BYTES).digest()
    ending = f"~{base64.b32encode(digest).decode().lower()}"
    # Accents are dropped before other letters are replaced: `Größe` is readable as `Gro_e`.
    letters = unicodedata.normalize("NFKD", name[:MAX_BYTES]).encode("ascii", "replace").decode()
    readable = re.sub(r"[^A-Za-z0-9._]+", "_", letters).strip("_.")[: MAX_BYTES - len(ending) - 1] or "_"
    return f"{'_' if _RESERVED.fullmatch(readable) else ''}{readable}{ending}"
