"""Files near and far: local paths and every URL that fsspec opens, read by range.

A file is read in blocks by number, so a block that fails can be asked for again (see
`pipeline.data.retry`) wherever in the file the reader is.
"""

from __future__ import annotations

import functools
import glob
import io
import os
from collections.abc import Callable
from typing import Any, BinaryIO, cast

from pipeline.data.retry import retrying
from pipeline.errors import SourceError

__all__ = [
    "basename",
    "expand",
    "filesystem",
    "is_url",
    "open_binary",
    "read_range",
    "size_of",
]

LOCAL_BLOCK = 1 << 20
"""Bytes read at once from a local file."""

REMOTE_BLOCK = 8 << 20
"""Bytes asked for at once from a server: large enough to hide its latency."""

EXTRAS = {"s3": "s3", "s3a": "s3", "http": "remote", "https": "remote"}
"""The extra of this package that brings what a protocol needs."""


def is_url(text: str) -> bool:
    """Whether this names something for fsspec rather than a local path."""
    return "://" in text


def basename(url: str) -> str:
    """The last part of a path or URL, without the query of the latter."""
    if is_url(url):
        url = url.partition("?")[0].partition("#")[0]
    return url.rstrip("/").rpartition("/")[2]


def filesystem(url: str) -> tuple[Any, str]:
    """The fsspec file system of a URL and the path inside it.

    Raises:
        SourceError: for an unknown protocol, or one whose package is not installed.
    """
    import fsspec

    protocol = url.partition("://")[0]
    try:
        return cast(tuple[Any, str], fsspec.core.url_to_fs(url))
    except ImportError as error:
        extra = EXTRAS.get(protocol)
        hint = f" (pip install 'maxact[{extra}]')" if extra else ""
        raise SourceError(f"cannot open {url}: {error}{hint}") from error
    except ValueError as error:
        raise SourceError(
            f"cannot open {url}: {error}; use a path, or a URL such as https:// or s3://"
        ) from error


class RangeReader(io.RawIOBase):
    """A seekable file whose every read is one range, fetched by number and so repeatable.

    Args:
        fetch: gives the bytes from `start` up to `end`.
        size: of the whole file, in bytes.
        name: for messages.
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
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def tell(self) -> int:
        """Byte that the next read starts at."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to a byte; reading past the end gives nothing, as everywhere."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer with one range."""
        start = self._position
        end = min(start + len(buffer), self._size)
        if end <= start:
            return 0
        data = retrying(lambda: self._whole(start, end), self._name)
        buffer[: len(data)] = data
        self._position = end
        return len(data)

    def _whole(self, start: int, end: int) -> bytes:
        data = self._fetch(start, end)
        if len(data) == end - start:
            return data
        if len(data) > end - start:
            raise SourceError(
                f"{self._name}: the server ignores range requests (sent {len(data)} bytes, "
                f"asked for {end - start}); download the file and give its path"
            )
        raise OSError(f"only {len(data)} of the {end - start} bytes from byte {start} on came back")

    def close(self) -> None:
        """Close the file underneath."""
        if not self.closed:
            self._close()
        super().close()


def size_of(url: str) -> int:
    """Size of a file in bytes.

    Raises:
        SourceError: when it does not exist or its size is not known.
    """
    if not is_url(url):
        return retrying(lambda: os.stat(url).st_size, url)
    fs, path = filesystem(url)
    size = retrying(lambda: fs.info(path)["size"], url)
    if not isinstance(size, int):
        raise SourceError(f"{url}: the server does not tell its size; download it first")
    return size


def open_binary(url: str, size: int) -> BinaryIO:
    """Open a file for buffered, seekable, retried reading.

    Args:
        url: path or URL.
        size: what `size_of` gave; a file that is now shorter fails on reading.

    Raises:
        SourceError: when it cannot be opened or, while reading, cannot be read.
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
    """Bytes of a file from `start` on, by one seek or one range request.

    Raises:
        SourceError: when they cannot be read, or the file ends before.
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
            f"{url}: {len(data)} bytes at byte {start} where {nbytes} were expected; the file "
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
    """Every path or URL that a pattern stands for: `{000..127}` braces first, then `*?[` globs.

    A path that exists is taken as it is, whatever characters it holds.

    Raises:
        SourceError: when the braces do not close, or a glob matches nothing.
    """
    import braceexpand

    if not is_url(pattern) and os.path.exists(pattern):
        return [pattern]
    try:
        names = list(braceexpand.braceexpand(pattern, escape=False))
    except ValueError as error:
        raise SourceError(f"{pattern!r}: {error}") from error
    found: list[str] = []
    for name in names:
        matches = _matches(name)
        if not matches:
            raise SourceError(f"no file matches {name!r}")
        found += matches
    return found


def _matches(name: str) -> list[str]:
    if not any(letter in name for letter in "*?["):
        return [name]
    if not is_url(name):
        return [name] if os.path.exists(name) else sorted(glob.glob(name, recursive=True))
    protocol = name.partition("://")[0]
    if protocol in ("http", "https"):  # a ? starts the query; servers list nothing
        return [name]
    fs, path = filesystem(name)
    return sorted(fs.unstrip_protocol(match) for match in retrying(lambda: fs.glob(path), name))
