"""Read local files and every URL that fsspec supports, by byte range.

Every read has an explicit offset, so that a read that fails can be repeated (see
`pipeline.data.retry`).
"""

from __future__ import annotations

import functools
import glob
import io
import os
import re
from collections.abc import Callable
from typing import Any, BinaryIO, cast

from pipeline.data.retry import retrying
from pipeline.errors import MissingSource, SourceError

__all__ = [
    "basename",
    "expand",
    "expand_braces",
    "filesystem",
    "fixed_folder",
    "is_url",
    "open_binary",
    "package_hint",
    "read_range",
    "size_of",
]

LOCAL_BLOCK = 1 << 20
"""Buffer size for local files, in bytes."""

REMOTE_BLOCK = 8 << 20
"""Buffer size for remote files, in bytes: large enough to hide the latency of a request."""

EXTRAS = {"s3": "s3", "s3a": "s3", "http": "remote", "https": "remote"}
"""Optional dependencies of this package that a protocol needs."""


MAX_NAMES = 1_000_000
"""Names that the braces of one pattern may stand for."""

BRACES = re.compile(r"\{([^{}]*)\}")
"""An innermost pair of braces."""

RANGE = re.compile(r"(-?\d+)\.\.(-?\d+)(?:\.\.-?\d+)?")
"""What braces contain for a range of numbers, as braceexpand reads it."""


def is_url(text: str) -> bool:
    """Return whether this is a URL for fsspec and not a local path."""
    return "://" in text


def basename(url: str) -> str:
    """Return the last part of a path or URL, without the query and fragment of a URL."""
    if is_url(url):
        url = url.partition("?")[0].partition("#")[0]
    return url.rstrip("/").rpartition("/")[2]


def filesystem(url: str) -> tuple[Any, str]:
    """Return the fsspec file system of a URL and the path within it.

    Raises:
        SourceError: if the protocol is unknown or its package is not installed.
    """
    import fsspec

    protocol = url.partition("://")[0]
    try:
        return cast(tuple[Any, str], fsspec.core.url_to_fs(url))
    except ImportError as error:
        raise SourceError(f"cannot open {url}: {error}{package_hint(protocol)}") from error
    except ValueError as error:
        raise MissingSource(
            f"cannot open {url}: {error}; use a path, or a URL such as https:// or s3://"
        ) from error


def package_hint(protocol: str) -> str:
    """How to install the package of a protocol, in parentheses; nothing where maxact has no extra for it."""
    extra = EXTRAS.get(protocol)
    return f" (pip install 'maxact[{extra}]')" if extra else ""


class RangeReader(io.RawIOBase):
    """A seekable file that reads by byte range and repeats reads that fail.

    Args:
        fetch: function of (start, end) that returns the bytes from `start` up to `end`.
        size: size of the file in bytes.
        name: path or URL, for messages.
        close: called when the file is closed.
    """

    def __init__(
        self,
        fetch: Callable[[int, int], bytes],
        size: int,
        name: str,
        close: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__()
        self._fetch, self._size, self._name, self._close = fetch, size, name, close
        self._position = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the offset of the next read in bytes."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Set the offset of the next read; reading past the end returns nothing."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer by one range read and return the number of bytes."""
        start = self._position
        end = min(start + len(buffer), self._size)
        if end <= start:
            return 0
        data = retrying(lambda: self._fetch_exactly(start, end), self._name)
        buffer[: len(data)] = data
        self._position = end
        return len(data)

    def _fetch_exactly(self, start: int, end: int) -> bytes:
        data = self._fetch(start, end)
        if len(data) == end - start:
            return data
        if len(data) > end - start:
            raise SourceError(
                f"{self._name}: the server ignores range requests (requested {end - start} bytes, "
                f"received {len(data)}); download the file and pass its local path"
            )
        raise OSError(f"received {len(data)} of {end - start} bytes at offset {start}")

    def close(self) -> None:
        """Close the underlying file."""
        if not self.closed:
            self._close()
        super().close()


def size_of(url: str) -> int:
    """Return the size of a file in bytes.

    Raises:
        SourceError: if the file does not exist or its size is unknown.
    """
    if not is_url(url):
        return retrying(lambda: os.stat(url).st_size, url)
    fs, path = filesystem(url)
    size = retrying(lambda: fs.info(path)["size"], url)
    if not isinstance(size, int):
        raise SourceError(
            f"{url}: the server does not report the file size; download the file and pass its local path"
        )
    return size


def open_binary(url: str, size: int) -> BinaryIO:
    """Open a seekable, buffered file that repeats reads that fail.

    Args:
        url: path or URL.
        size: as returned by `size_of`; reading fails if the file has become shorter.

    Raises:
        SourceError: if the file cannot be opened, or later cannot be read.
    """
    if is_url(url):
        fs, path = filesystem(url)

        def fetch(start: int, end: int) -> bytes:
            return cast(bytes, fs.cat_file(path, start=start, end=end))

        return cast(BinaryIO, io.BufferedReader(RangeReader(fetch, size, url), REMOTE_BLOCK))
    file = retrying(functools.partial(io.FileIO, url), url)

    def fetch_local(start: int, end: int) -> bytes:
        file.seek(start)
        return file.read(end - start)

    reader = RangeReader(fetch_local, size, url, file.close)
    return cast(BinaryIO, io.BufferedReader(reader, LOCAL_BLOCK))


def read_range(url: str, start: int, nbytes: int) -> bytes:
    """Read `nbytes` bytes of a file from offset `start`, by one seek or one range request.

    Raises:
        SourceError: if the bytes cannot be read or the file is too short.
    """
    if nbytes == 0:
        return b""
    if is_url(url):
        fs, path = filesystem(url)
        data = retrying(lambda: cast(bytes, fs.cat_file(path, start=start, end=start + nbytes)), url)
    else:
        data = retrying(functools.partial(_read_local, url, start, nbytes), url)
    if len(data) != nbytes:
        raise SourceError(
            f"{url}: received {len(data)} of {nbytes} bytes at offset {start}; the file has "
            "changed, or its server ignores range requests"
        )
    return data


def _read_local(path: str, start: int, nbytes: int) -> bytes:
    with open(path, "rb", buffering=0) as file:
        file.seek(start)
        parts = []
        while nbytes and (part := file.read(nbytes)):
            parts.append(part)
            nbytes -= len(part)
    return b"".join(parts)


def expand(pattern: str) -> list[str]:
    """Expand a pattern to paths or URLs: first braces such as `{000..127}`, then `*?[` globs.

    A path that exists is returned unchanged, even if it contains special characters.

    Raises:
        SourceError: if braces are unbalanced or a glob matches no file.
    """
    try:
        encoded = os.fsencode(pattern)
    except UnicodeEncodeError as error:
        raise MissingSource(f"invalid path {pattern!r}: it contains half of a surrogate pair") from error
    if b"\0" in encoded:
        raise MissingSource(f"invalid path {pattern!r}: it contains a null byte")
    if not is_url(pattern) and os.path.exists(pattern):
        return [pattern]
    found: list[str] = []
    for name in expand_braces(pattern):
        matches = _expand_glob(name)
        if not matches:
            raise MissingSource(f"no file matches {name!r}")
        found += matches
    return found


def expand_braces(pattern: str) -> list[str]:
    """The names that the braces of a pattern stand for; no file is looked at.

    Raises:
        SourceError: if braces are unbalanced.
    """
    import braceexpand

    try:
        if _count_names(pattern) > MAX_NAMES:
            raise ValueError(f"it may stand for more than {MAX_NAMES:,} names")
        return list(braceexpand.braceexpand(pattern, escape=False))
    except (ValueError, RecursionError) as error:
        raise MissingSource(f"invalid pattern {pattern!r}: {error}") from error


def fixed_folder(pattern: str) -> str:
    """The folder in front of the first part of a pattern that has braces, `*`, `?` or `[`."""
    special = re.search(r"[{*?\[]", pattern)
    return os.path.dirname(pattern[: special.start()] if special else pattern) or "."


def _count_names(pattern: str) -> int:
    """At least as many names as the braces of a pattern stand for, found without expanding them."""
    count, rest = 1, pattern
    while (group := BRACES.search(rest)) and count <= MAX_NAMES:
        if bounds := RANGE.fullmatch(group[1]):
            count *= abs(int(bounds[2]) - int(bounds[1])) + 1
        else:
            count *= group[1].count(",") + 1
        rest = rest[: group.start()] + rest[group.end() :]
    return count


def _expand_glob(name: str) -> list[str]:
    if not any(letter in name for letter in "*?["):
        return [name]
    if not is_url(name):
        return [name] if os.path.exists(name) else sorted(glob.glob(name, recursive=True))
    protocol = name.partition("://")[0]
    if protocol in ("http", "https"):  # `?` starts the query, and HTTP cannot list files
        return [name]
    fs, path = filesystem(name)
    return sorted(fs.unstrip_protocol(match) for match in retrying(lambda: fs.glob(path), name))
