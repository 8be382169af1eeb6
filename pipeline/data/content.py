"""What a shard contained when it was read: digests of its images, of its samples and of its files.

The digest of a sample is that of its encoded bytes. The content of a shard is the digest of all that
its samples say, in order, and costs nothing beyond the digests of the images. Its stamp, from the
times of its files, tells cheaply that a file was not touched; a copied dataset has other stamps.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterable
from dataclasses import replace

from pipeline.data.shard import BadSample, Sample, Shard
from pipeline.errors import ShardError

__all__ = ["ShardReader", "byte_digest", "content_digest"]

MAX_TEXT_BYTES = 1 << 16
"""Bytes that the key, the label or the origin of a sample may have in UTF-8."""

SHOWN_TEXT = 200
"""Characters that are kept of a key that cannot be used."""


def byte_digest(data: bytes) -> int:
    """A signed 64-bit digest of an encoded image (BLAKE2b)."""
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), signed=True)


class ShardReader:
    """Reads a shard once, from front to back, and computes its content on the way.

    Args:
        shard: to read.

    Attributes:
        content: digest of all samples, 32 hexadecimal digits; empty before the end of the shard.
        stamp: of the shard's files when it was opened, see `Shard.stamp`.
    """

    def __init__(self, shard: Shard) -> None:
        self.shard = shard
        self.content = ""
        self.stamp = ""

    def __iter__(self) -> Generator[Sample | BadSample]:
        """Stream the samples with shard, size and digest; may be closed at any point.

        Raises:
            ShardError: when the shard is damaged, or its files change while they are read.
        """
        shard = self.shard
        self.stamp = shard.stamp()
        digest = _new_digest()
        for item in shard.samples():
            completed = _complete(item, shard.name)
            digest.update(_record(completed))
            yield completed
        if shard.stamp() != self.stamp:
            raise ShardError(
                shard.name,
                "its files changed while they were read; run the same command again when nothing "
                "writes to the dataset",
            )
        self.content = digest.hexdigest()


def content_digest(items: Iterable[Sample | BadSample]) -> str:
    """The content of a shard with these samples; of each, only what a run records is needed."""
    digest = _new_digest()
    for item in items:
        digest.update(_record(item))
    return digest.hexdigest()


def _new_digest() -> hashlib.blake2b:
    return hashlib.blake2b(digest_size=16)


def _complete(item: Sample | BadSample, shard: str) -> Sample | BadSample:
    """Add shard, size and digest; a sample with text that no table can hold becomes a bad one."""
    texts = {"key": item.key}
    if isinstance(item, Sample):
        texts |= {"label": item.label or "", "origin": item.origin or ""}
    for name, text in texts.items():
        reason = _refuse_text(text)
        if reason:
            key = item.key.encode("utf-8", "backslashreplace").decode()[:SHOWN_TEXT]
            return BadSample(key, item.position, "text", f"its {name} {reason}", shard)
    if isinstance(item, BadSample):
        return replace(item, shard=shard)
    return replace(item, shard=shard, nbytes=len(item.data), digest=byte_digest(item.data))


def _refuse_text(text: str) -> str:
    """The reason why a text cannot be stored, or an empty string."""
    try:
        size = len(text) if text.isascii() else len(text.encode())
    except UnicodeEncodeError:
        return "is not valid Unicode text (it contains half of a surrogate pair)"
    if size > MAX_TEXT_BYTES:
        return f"has {size:,} bytes, the limit is {MAX_TEXT_BYTES:,}"
    return ""


def _record(item: Sample | BadSample) -> bytes:
    """Everything about a sample that a run records."""
    if isinstance(item, BadSample):
        fields: tuple[object, ...] = (item.position, item.key, item.kind)
    else:
        fields = (item.position, item.key, item.label, item.origin, item.offset, item.nbytes, item.digest)
    return repr(fields).encode() + b"\n"
