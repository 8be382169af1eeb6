"""WebDataset shards: plain tar archives, streamed member by member.

Consecutive members whose names agree up to the first dot are one sample: `n01/7.jpg`, `n01/7.cls`
and `n01/7.json` make the sample `n01/7`. Its label comes from `.cls`, else from the `.json`, else
from the folder in its key. A key that comes back later in the same shard is an error row, since
neither it nor its label can be told apart from the first.

`tarfile` takes a damaged header for the end of the archive. So the end is looked at here: it must
be the two zero blocks, with nothing but zeros up to the size of the file, or the shard fails.
"""

from __future__ import annotations

import hashlib
import json
import re
import tarfile
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from pipeline.data.files import open_binary, read_range
from pipeline.data.shard import IMAGE_SUFFIXES, MAX_MEMBER_BYTES, BadSample, Sample, Shard, printable
from pipeline.errors import ShardError, SourceError
from pipeline.image_id import MAX_POSITIONS

__all__ = ["TarShard"]

MEMBER_NAME = re.compile(r"^((?:.*/|)[^.]+)[.]([^/]*)$")
"""WebDataset's own split of a member's name: key up to the first dot of the file name, suffix."""

END_BYTES = 2 * tarfile.BLOCKSIZE
"""Zero bytes that close an archive."""

MAX_NOTE_BYTES = 1 << 24
"""Bytes (16 MiB) above which a `.cls` or `.json` member is refused unread."""

LABEL_FIELDS = ("label", "class_name", "class", "cls")
"""Fields of a `.json` member that give the label, the first one present wins."""

COMPRESSED = {b"\x1f\x8b": "gzip", b"BZ": "bzip2", b"\xfd7": "xz", b"(\xb5": "zstd"}
"""First two bytes of compressed archives."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TarShard(Shard):
    """One tar archive, local or remote.

    Args:
        url: path or URL.
    """

    url: str

    def samples(self) -> Generator[Sample | BadSample]:
        """Stream the archive; a damaged one fails before its first sample wherever possible."""
        try:
            with open_binary(self.url, self.size) as file:
                yield from _samples(self.name, file, self.size)
        except ShardError:
            raise
        except SourceError as error:
            raise ShardError(self.name, str(error)) from error

    def count(self) -> int:
        """Count the samples from the headers alone."""
        with open_binary(self.url, self.size) as file:
            return sum(1 for _ in _groups(self.name, file, self.size, data=False))

    def read(self, key: str, offset: int, nbytes: int) -> bytes:
        """Read an image back by one seek."""
        try:
            return read_range(self.url, offset, nbytes)
        except SourceError as error:
            raise ShardError(self.name, f"{key!r}: {error}") from error


@dataclass(slots=True)
class _Group:
    """The members of one sample, as far as read."""

    key: str
    suffixes: list[str] = field(default_factory=list)
    images: list[tuple[int, str, int, bytes]] = field(default_factory=list)
    """(rank: 0 is best, suffix, offset, data)"""
    cls: bytes | None = None
    json: bytes | None = None
    problem: tuple[str, str] | None = None
    """(kind, message) of the first thing wrong"""

    def blame(self, kind: str, message: str) -> None:
        """Remember the first thing that is wrong with this sample."""
        self.problem = self.problem or (kind, message)


def _samples(shard: str, file: BinaryIO, size: int) -> Iterator[Sample | BadSample]:
    _check_end(shard, file, size)
    seen: set[bytes] = set()
    for position, group in enumerate(_groups(shard, file, size)):
        if position == MAX_POSITIONS:
            raise ShardError(shard, f"holds more than {MAX_POSITIONS:,} samples; split it")
        digest = hashlib.blake2b(group.key.encode(), digest_size=8).digest()
        if digest in seen:
            message = (
                "its key was seen before in this shard; only consecutive members make a sample, "
                f"so these ({', '.join(group.suffixes)}) belong to none"
            )
            yield BadSample(group.key, position, "duplicate", message)
        else:
            seen.add(digest)
            yield _finish(group, position)


def _check_end(shard: str, file: BinaryIO, size: int) -> None:
    """Fail at once for what can be told from the first and the last bytes."""
    start = file.read(2)
    if start in COMPRESSED:
        raise ShardError(
            shard,
            f"is compressed ({COMPRESSED[start]}), which leaves no way to seek to an image; "
            "unpack it to a plain .tar",
        )
    if size < END_BYTES:
        raise ShardError(shard, f"has {size} bytes; the smallest archive has {END_BYTES}")
    file.seek(size - END_BYTES)
    if file.read(END_BYTES).strip(b"\0"):
        raise ShardError(
            shard,
            f"its {size:,} bytes do not end in the two zero blocks that close an archive: it was "
            "cut off, or is no tar; copy it again",
        )
    file.seek(0)


def _groups(shard: str, file: BinaryIO, size: int, *, data: bool = True) -> Iterator[_Group]:
    """Members put together by key; reads no data but images, classes and json."""
    group: _Group | None = None
    with _open(shard, file) as archive:
        end = 0
        while (member := _next(shard, archive)) is not None:
            if archive.offset <= end or member.size < 0 or archive.offset > size:
                raise ShardError(shard, f"damaged header before byte {end}; copy it again")
            end = archive.offset
            archive.members = []  # type: ignore[attr-defined]  # it would keep every header it read
            name = printable(member.name)
            parts = _split(name)
            if member.isdir() or parts is None:
                continue
            key, suffix = parts
            if group is None or key != group.key or suffix in group.suffixes:
                if group is not None:
                    yield group
                group = _Group(key)
            group.suffixes.append(suffix)
            if data:
                _add(shard, group, suffix, member, file)
        _check_rest(shard, file, archive.offset, size)
    if group is not None:
        yield group


def _open(shard: str, file: BinaryIO) -> tarfile.TarFile:
    try:
        return tarfile.open(fileobj=file, mode="r:")
    except (tarfile.TarError, ValueError) as error:
        raise ShardError(shard, f"is no tar archive: {error}") from error


def _next(shard: str, archive: tarfile.TarFile) -> tarfile.TarInfo | None:
    try:
        return archive.next()
    except (tarfile.TarError, ValueError, OverflowError, EOFError) as error:
        raise ShardError(shard, f"damaged header at byte {archive.offset}: {error}; copy it again") from error


def _check_rest(shard: str, file: BinaryIO, offset: int, size: int) -> None:
    """Behind the last member there must be two zero blocks and nothing but zeros."""
    if size - offset < END_BYTES:
        raise ShardError(shard, f"ends at byte {size:,} without two zero blocks: it was cut off")
    file.seek(offset)
    while block := file.read(1 << 20):
        if block.strip(b"\0"):
            at = offset + len(block) - len(block.lstrip(b"\0"))
            at -= at % tarfile.BLOCKSIZE
            raise ShardError(
                shard,
                f"damaged header at byte {at:,} of {size:,} (or archives joined end to end); "
                "copy or write it again",
            )
        offset += len(block)


def _split(name: str) -> tuple[str, str] | None:
    """Key and lower-case suffix; None for names to be passed over (hidden, or `__meta__`)."""
    base = name.rpartition("/")[2]
    if base.startswith(".") or (base == name and name.startswith("__") and name.endswith("__")):
        return None
    match = MEMBER_NAME.match(name)
    return (match[1], match[2].lower()) if match else (name, "")


def _add(shard: str, group: _Group, suffix: str, member: tarfile.TarInfo, file: BinaryIO) -> None:
    image = suffix.rpartition(".")[2] in IMAGE_SUFFIXES
    if not image and suffix not in ("cls", "json"):
        return
    limit = MAX_MEMBER_BYTES if image else MAX_NOTE_BYTES
    if not member.isreg() or member.issparse():
        group.blame("link", f"its .{suffix} is a link or a sparse file, not plain data")
        return
    if member.size > limit:
        group.blame("too_large", f"its .{suffix} has {member.size:,} bytes, the limit is {limit:,}")
        return
    file.seek(member.offset_data)
    data = file.read(member.size)
    if len(data) != member.size:
        raise ShardError(shard, f"ends inside the member {member.name!r}: it was cut off")
    if image:
        rank = IMAGE_SUFFIXES.index(suffix) if suffix in IMAGE_SUFFIXES else len(IMAGE_SUFFIXES)
        group.images.append((rank, suffix, member.offset_data, data))
        group.images = sorted(group.images, key=lambda image: image[0])[:2]
    elif suffix == "cls":
        group.cls = data
    else:
        group.json = data


def _finish(group: _Group, position: int) -> Sample | BadSample:
    """Make a sample of its members, or say why that cannot be done."""
    if not group.images and group.problem is None:
        group.blame("no_image", f"no image among its members ({', '.join(group.suffixes)})")
    ranks = [rank for rank, *_ in group.images]
    if len(ranks) > 1 and ranks[0] == ranks[1]:
        group.blame("ambiguous", f"several images in one sample ({', '.join(group.suffixes)})")
    notes = _notes(group)
    label = _label(group, notes)
    origin = notes.get("origin")
    if group.problem is not None:
        return BadSample(group.key, position, *group.problem)
    _, _, offset, data = group.images[0]
    origin = origin if isinstance(origin, str) else None
    return Sample(group.key, label, position, offset, data, origin)


def _notes(group: _Group) -> dict[str, object]:
    if group.json is None:
        return {}
    try:
        notes = json.loads(group.json)
    except (ValueError, RecursionError) as error:
        group.blame("json", f"its .json cannot be read: {error}")
        return {}
    if not isinstance(notes, dict):
        group.blame("json", f"its .json is a {type(notes).__name__}, expected an object")
        return {}
    return notes


def _label(group: _Group, notes: dict[str, object]) -> str | None:
    if group.cls is not None:
        try:
            return group.cls.decode("utf-8").strip() or None
        except UnicodeDecodeError:
            group.blame("label", "its .cls is not UTF-8 text")
            return None
    for name in LABEL_FIELDS:
        value = notes.get(name)
        if isinstance(value, str):
            return value
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        if value is not None:
            kind = type(value).__name__
            group.blame("json", f"{name!r} in its .json is a {kind}, expected text or an integer")
            return None
    folder = group.key.rpartition("/")[0].rpartition("/")[2]
    return folder if folder not in ("", ".", "..") else None
