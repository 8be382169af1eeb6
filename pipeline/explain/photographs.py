"""Photographs to explain: files, URLs, and images of the indexed dataset by their keys."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline.data.files import is_url, read_range, size_of
from pipeline.errors import MissingSource, SourceError, UsageError, did_you_mean
from pipeline.query.index import Index

__all__ = ["MAX_BYTES", "Photograph", "find_photograph", "read_photograph"]

MAX_BYTES = 1 << 28
"""The largest file (256 MiB) that is read as a photograph."""

_BY_KEY = "SELECT image_id, shard FROM images WHERE key = $key ORDER BY image_id LIMIT 3"

_NEAR_KEYS = """
SELECT key FROM images WHERE levenshtein(key, $key) <= greatest(2, length($key) // 4)
ORDER BY levenshtein(key, $key), key LIMIT 3
"""


@dataclass(frozen=True, slots=True)
class Photograph:
    """An encoded photograph.

    Args:
        name: path, URL or key, as it was given.
        data: the encoded bytes.
        image_id: its number in the index, if it was given by its key.
    """

    name: str
    data: bytes
    image_id: int | None = None


def find_photograph(index: Index, given: str | Path) -> int | None:
    """Whether there is such a photograph: a file or URL, or else an image of the dataset with this key.

    Args:
        index: open.
        given: path, URL or key.

    Returns:
        The number of the image that has the key; None for a file or URL, which is not opened.

    Raises:
        MissingSource: when there is neither such a file nor such a key.
        UsageError: when it is a folder, or the key of several images.
    """
    name = str(given)
    if is_url(name):
        return None
    path = Path(name)
    try:
        if path.is_dir():
            raise UsageError(f"{name or '.'} is a folder; give photographs, such as {path / '*.jpg'}")
        if path.exists():
            return None
    except (OSError, ValueError):
        pass  # longer than a path may be, or with a NUL byte: it can only be a key
    rows = index.sql(_BY_KEY, key=name).rows
    if not rows:
        near = [row[0] for row in index.sql(_NEAR_KEYS, key=name).rows] if len(name) < 200 else []
        hint = did_you_mean(name, near) if near else ""
        raise MissingSource(f"{name!r} is neither a file nor the key of an image in {index.out}{hint}")
    if len(rows) > 1:
        shards = ", ".join(str(row[1]) for row in rows)
        raise UsageError(
            f"several images of {index.out} have the key {name!r} (shards {shards}); give a file"
        )
    return int(rows[0][0])


def read_photograph(index: Index, given: str | Path) -> Photograph:
    """Read a photograph that `find_photograph` finds.

    Args:
        index: open.
        given: path, URL or key.

    Raises:
        SourceError: when it is not there, or cannot be read.
        UsageError: when it is a folder, too large, or the key of several images.
        UntrustedIndex: when the dataset of the index would have to be opened, and is not trusted.
    """
    image_id = find_photograph(index, given)
    data = _read(str(given)) if image_id is None else index.image_bytes(image_id)
    return Photograph(str(given), data, image_id)


def _read(name: str) -> bytes:
    size = size_of(name)
    if size > MAX_BYTES:
        raise UsageError(f"{name} has {size:,} bytes, more than a photograph may have ({MAX_BYTES:,})")
    data = read_range(name, 0, size)
    if not data:
        raise SourceError(f"{name} is empty")
    return data
