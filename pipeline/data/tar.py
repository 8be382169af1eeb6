"""WebDataset shards: uncompressed tar archives, streamed member by member.

Consecutive members with the same name up to the first dot form a sample (see
`pipeline.data.tar_members`). A key that occurs again later in the shard becomes an error row, since
the two samples could not be distinguished.

`tarfile` treats a damaged header as the end of the archive. Therefore the end is checked here: the
last member must be followed by two zero blocks and only zeros up to the end of the file.
"""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from pipeline.data.files import is_url, open_binary, read_range
from pipeline.data.shard import BadSample, Sample, Shard, printable, stamp_files
from pipeline.data.tar_members import MemberGroup, split_member_name
from pipeline.errors import ShardError, SourceError
from pipeline.image_id import MAX_POSITIONS

__all__ = ["TarShard"]

END_BYTES = 2 * tarfile.BLOCKSIZE
"""Number of zero bytes at the end of an archive."""

COMPRESSED = {b"\x1f\x8b": "gzip", b"BZ": "bzip2", b"\xfd7": "xz", b"(\xb5": "zstd"}
"""Compression formats by the first two bytes of the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TarShard(Shard):
    """One tar archive, local or remote.

    Args:
        url: path or URL.
    """

    url: str

    def samples(self) -> Generator[Sample | BadSample]:
        """Stream the archive; most damage is found before the first sample."""
        try:
            with open_binary(self.url, self.size) as file:
                yield from _read_samples(self.name, file, self.size)
        except ShardError:
            raise
        except SourceError as error:
            raise ShardError(self.name, str(error)) from error

    def count(self) -> int:
        """Count the samples by reading only the headers."""
        with open_binary(self.url, self.size) as file:
            return sum(1 for _ in _group_members(self.name, file, self.size, data=False))

    def stamp(self) -> str:
        """Of the archive."""
        return "" if is_url(self.url) else stamp_files(self.name, [(self.url, self.size)])

    def read(self, key: str, offset: int, nbytes: int) -> bytes:
        """Read an image at its offset."""
        try:
            return read_range(self.url, offset, nbytes)
        except SourceError as error:
            raise ShardError(self.name, f"{key!r}: {error}") from error


def _read_samples(shard: str, file: BinaryIO, size: int) -> Iterator[Sample | BadSample]:
    _check_end(shard, file, size)
    seen: set[bytes] = set()
    for position, group in enumerate(_group_members(shard, file, size)):
        if position == MAX_POSITIONS:
            raise ShardError(shard, f"has more than {MAX_POSITIONS:,} samples; split it into several files")
        digest = hashlib.blake2b(group.key.encode(), digest_size=8).digest()
        if digest in seen:
            message = (
                "its key was seen before in this shard; only consecutive members make a sample, "
                f"so these ({', '.join(group.suffixes)}) belong to none"
            )
            yield BadSample(group.key, position, "duplicate", message)
        else:
            seen.add(digest)
            yield group.to_sample(position)


def _check_end(shard: str, file: BinaryIO, size: int) -> None:
    """Check that the first bytes are not those of a compressed file, and that the last are zeros."""
    start = file.read(2)
    if start in COMPRESSED:
        raise ShardError(
            shard,
            f"is compressed ({COMPRESSED[start]}), so that images cannot be read by offset; "
            "decompress it to a .tar file",
        )
    if size < END_BYTES:
        raise ShardError(shard, f"has {size} bytes, expected at least {END_BYTES}; copy it again")
    file.seek(size - END_BYTES)
    if file.read(END_BYTES).strip(b"\0"):
        raise ShardError(
            shard,
            f"does not end with the two zero blocks of a tar archive ({size:,} bytes): it is "
            "truncated or not a tar archive; copy it again",
        )
    file.seek(0)


def _group_members(shard: str, file: BinaryIO, size: int, *, data: bool = True) -> Iterator[MemberGroup]:
    """Group consecutive members by key; with `data`, read images, `.cls` and `.json`."""
    group: MemberGroup | None = None
    with _open_archive(shard, file) as archive:
        end = 0
        while (member := _next_member(shard, archive)) is not None:
            if archive.offset <= end or member.size < 0 or archive.offset > size:
                raise ShardError(shard, f"damaged header before byte {end}; copy it again")
            end = archive.offset
            archive.members = []  # type: ignore[attr-defined]  # it keeps every header otherwise
            name = printable(member.name)
            parts = split_member_name(name)
            if member.isdir() or parts is None:
                continue
            key, suffix = parts
            if group is None or key != group.key or suffix in group.suffixes:
                if group is not None:
                    yield group
                group = MemberGroup(key)
            group.suffixes.append(suffix)
            if data:
                group.add(shard, suffix, member, file)
        _check_rest(shard, file, archive.offset, size)
    if group is not None:
        yield group


def _open_archive(shard: str, file: BinaryIO) -> tarfile.TarFile:
    try:
        return tarfile.open(fileobj=file, mode="r:")
    except (SourceError, MemoryError):
        raise
    except Exception as error:  # as in `_next_member`
        raise ShardError(shard, f"is not a tar archive: {error}") from error


def _next_member(shard: str, archive: tarfile.TarFile) -> tarfile.TarInfo | None:
    try:
        return archive.next()
    except (SourceError, MemoryError):
        raise
    except Exception as error:  # tarfile raises almost anything on damaged extended headers
        reason = str(error) or type(error).__name__
        raise ShardError(
            shard, f"damaged header at byte {archive.offset}: {reason}; copy it again"
        ) from error


def _check_rest(shard: str, file: BinaryIO, offset: int, size: int) -> None:
    """Check that two zero blocks, and only zeros, follow the last member."""
    if size - offset < END_BYTES:
        raise ShardError(
            shard, f"ends at byte {size:,} without two zero blocks: it is truncated; copy it again"
        )
    file.seek(offset)
    while block := file.read(1 << 20):
        if block.strip(b"\0"):
            at = offset + len(block) - len(block.lstrip(b"\0"))
            at -= at % tarfile.BLOCKSIZE
            raise ShardError(
                shard,
                f"damaged header at byte {at:,} of {size:,}, or several archives joined into one; "
                "copy or create it again",
            )
        offset += len(block)
