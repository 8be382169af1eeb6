"""Files that carry their own SHA-256, so that file and digest are replaced in one step.

The digest is 64 hexadecimal digits at a place that each format marks, computed over the file with
zeros at that place. It finds damage, not forgery: whoever writes a file can compute it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = [
    "BLANK",
    "JSON",
    "PARQUET",
    "PARQUET_KEY",
    "SEALED_FIELD",
    "ZIP",
    "Seal",
    "is_plain_archive",
    "seal",
    "seal_archive",
    "seal_json",
]

BLANK = "0" * 64
"""Stands in the place of the digest until it is known."""

SEALED_FIELD = "sha256"
"""Last field of a JSON object that carries its digest."""

PARQUET_KEY = "maxact.sha256"
"""Key of the digest in the metadata of a Parquet footer."""


@dataclass(frozen=True, slots=True)
class Seal:
    """Where a format keeps the digest: between the last `before` of the file and the next `after`.

    Args:
        before: bytes before the digest.
        after: bytes after it.
        at_end: whether the file ends with `after`.
    """

    before: bytes
    after: bytes = b""
    at_end: bool = True

    def place(self, data: bytes) -> int | None:
        """Offset of the digest; None if the file has none."""
        start = data.rfind(self.before)
        if start < 0:
            return None
        start += len(self.before)
        end = start + len(BLANK)
        found = data[start:end]
        complete = len(found) == len(BLANK) and not found.strip(b"0123456789abcdef")
        fits = data[end:] == self.after if self.at_end else data.startswith(self.after, end)
        return start if complete and fits else None

    def is_intact(self, data: bytes) -> bool | None:
        """Whether the file is as it was sealed; None if it has no digest."""
        start = self.place(data)
        if start is None:
            return None
        return data[start : start + len(BLANK)] == _digest(data, start)


JSON = Seal(f'"{SEALED_FIELD}": "'.encode(), b'"\n}\n')
"""The last field of an object, as `seal_json` writes it."""

PARQUET = Seal(PARQUET_KEY.encode() + b"\x18\x40", at_end=False)
"""The value of a key in the footer: in Thrift's compact protocol, the header of a binary field and its
length precede it."""

ZIP = Seal(b"maxact.sha256=")
"""The comment at the end of an archive."""


_END = 22
"""Bytes of the end record of a ZIP archive; the last two are the length of the comment after it."""


def seal(data: bytes, kind: Seal) -> bytes:
    """The file with its digest in the place of `BLANK`."""
    start = kind.place(data)
    assert start is not None, "the content has no place for the digest"
    return data[:start] + _digest(data, start) + data[start + len(BLANK) :]


def seal_json(content: Mapping[str, Any]) -> str:
    """A JSON object with its digest as the last field."""
    fields = {name: value for name, value in content.items() if name != SEALED_FIELD}
    text = json.dumps({**fields, SEALED_FIELD: BLANK}, indent=1) + "\n"
    return seal(text.encode(), JSON).decode()


def seal_archive(data: bytes) -> bytes:
    """A ZIP archive without a comment, with its digest as the comment."""
    assert is_plain_archive(data), "an archive without a comment is expected"
    comment = ZIP.before + BLANK.encode()
    return seal(data[:-2] + len(comment).to_bytes(2, "little") + comment, ZIP)


def is_plain_archive(data: bytes) -> bool:
    """Whether the file ends with the end record of a ZIP archive that has no comment."""
    return data[-_END:-18] == b"PK\5\6" and data[-2:] == bytes(2)


def _digest(data: bytes, start: int) -> bytes:
    """Digest of a file, in hexadecimal, with zeros for the digits that start there."""
    view = memoryview(data)
    digest = hashlib.sha256(view[:start])
    digest.update(BLANK.encode())
    digest.update(view[start + len(BLANK) :])
    return digest.hexdigest().encode()
