"""Samples of a tar archive: members grouped by key, with their label and origin.

`n01/7.jpg`, `n01/7.cls` and `n01/7.json` are the sample `n01/7`. The label comes from `.cls`, else
from `.json`, else from the folder in the key; the origin comes from `.json`.
"""

from __future__ import annotations

import json
import re
import tarfile
from dataclasses import dataclass, field
from typing import BinaryIO

from pipeline.data.shard import IMAGE_SUFFIXES, MAX_MEMBER_BYTES, BadSample, Sample
from pipeline.errors import ShardError

__all__ = ["MemberGroup", "split_member_name"]

MEMBER_NAME = re.compile(r"^((?:.*/|)[^.]+)[.]([^/]*)$")
"""Key and suffix of a member name as WebDataset splits it: at the first dot of the file name."""

MAX_NOTE_BYTES = 1 << 24
"""Maximum size of a `.cls` or `.json` member in bytes (16 MiB)."""

LABEL_FIELDS = ("label", "class_name", "class", "cls")
"""Fields of a `.json` member that contain the label, in order of precedence."""


def split_member_name(name: str) -> tuple[str, str] | None:
    """Split a member name into key and lower-case suffix; None for hidden files and `__meta__`."""
    base = name.rpartition("/")[2]
    if base.startswith(".") or (base == name and name.startswith("__") and name.endswith("__")):
        return None
    match = MEMBER_NAME.match(name)
    return (match[1], match[2].lower()) if match else (name, "")


@dataclass(slots=True)
class MemberGroup:
    """The members of one sample that have been read so far.

    Args:
        key: shared by the members.
        suffixes: of all members, in order.
        images: (index in `IMAGE_SUFFIXES`, suffix, offset, data) of at most two images, the
            preferred one first.
        cls: content of the `.cls` member.
        json: content of the `.json` member.
        problem: (kind, message) of the first error found in this sample.
    """

    key: str
    suffixes: list[str] = field(default_factory=list)
    images: list[tuple[int, str, int, bytes]] = field(default_factory=list)
    cls: bytes | None = None
    json: bytes | None = None
    problem: tuple[str, str] | None = None

    def add(self, shard: str, suffix: str, member: tarfile.TarInfo, file: BinaryIO) -> None:
        """Read an image, `.cls` or `.json` member from the archive; ignore any other.

        Raises:
            ShardError: if the archive ends within the member.
        """
        image = suffix.rpartition(".")[2] in IMAGE_SUFFIXES
        if not image and suffix not in ("cls", "json"):
            return
        limit = MAX_MEMBER_BYTES if image else MAX_NOTE_BYTES
        if not member.isreg() or member.issparse():
            self._report("link", f"its .{suffix} is a link or a sparse file, not plain data")
            return
        if member.size > limit:
            self._report("too_large", f"its .{suffix} has {member.size:,} bytes, the limit is {limit:,}")
            return
        file.seek(member.offset_data)
        data = file.read(member.size)
        if len(data) != member.size:
            raise ShardError(shard, f"is truncated inside the member {member.name!r}; copy it again")
        if image:
            rank = IMAGE_SUFFIXES.index(suffix) if suffix in IMAGE_SUFFIXES else len(IMAGE_SUFFIXES)
            self.images.append((rank, suffix, member.offset_data, data))
            self.images = sorted(self.images, key=lambda image: image[0])[:2]
        elif suffix == "cls":
            self.cls = data
        else:
            self.json = data

    def to_sample(self, position: int) -> Sample | BadSample:
        """Build the sample at a position of the shard, or report why the members do not form one."""
        if not self.images and self.problem is None:
            inner = "; unpack the archives in this archive first" if "tar" in self.suffixes else ""
            self._report("no_image", f"no image among its members ({', '.join(self.suffixes)}){inner}")
        ranks = [rank for rank, *_ in self.images]
        if len(ranks) > 1 and ranks[0] == ranks[1]:
            self._report("ambiguous", f"several images in one sample ({', '.join(self.suffixes)})")
        fields = self._parse_json()
        label = self._find_label(fields)
        origin = fields.get("origin")
        if self.problem is not None:
            return BadSample(self.key, position, *self.problem)
        _, _, offset, data = self.images[0]
        origin = origin if isinstance(origin, str) else None
        return Sample(self.key, label, position, offset, data, origin)

    def _report(self, kind: str, message: str) -> None:
        """Record an error, unless there is an earlier one."""
        self.problem = self.problem or (kind, message)

    def _parse_json(self) -> dict[str, object]:
        if self.json is None:
            return {}
        try:
            fields = json.loads(self.json)
        except (ValueError, RecursionError) as error:
            self._report("json", f"its .json cannot be read: {error}")
            return {}
        if not isinstance(fields, dict):
            self._report("json", f"its .json is a {type(fields).__name__}, expected an object")
            return {}
        return fields

    def _find_label(self, fields: dict[str, object]) -> str | None:
        if self.cls is not None:
            try:
                return self.cls.decode("utf-8").strip() or None
            except UnicodeDecodeError:
                self._report("label", "its .cls is not UTF-8 text")
                return None
        for name in LABEL_FIELDS:
            value = fields.get(name)
            if isinstance(value, str):
                return value
            if isinstance(value, int) and not isinstance(value, bool):
                return str(value)
            if value is not None:
                kind = type(value).__name__
                self._report("json", f"{name!r} in its .json is a {kind}, expected text or an integer")
                return None
        folder = self.key.rpartition("/")[0].rpartition("/")[2]
        return folder if folder not in ("", ".", "..") else None
