"""The requests that an OUT at an address needs: list, read, fetch, put and remove whole objects.

No listing and no description of an object is taken from a cache of fsspec, which would hide what other
machines have written since.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

from pipeline.errors import UnreadableFile
from pipeline.remote.address import Address
from pipeline.remote.attempts import attempt, ends_with

__all__ = ["REQUESTS", "ObjectInfo", "Objects", "together"]

REQUESTS = 8
"""Requests at the same time."""

_VERSION_FIELDS = (
    *("ETag", "etag", "generation", "md5Hash", "content_md5", "blob_id"),
    *("mtime", "modified", "LastModified", "updated", "created"),
)
"""Fields of fsspec's descriptions that change with the content of an object, the best first."""

_NAME = re.compile(r"[^\\\0\n\r]+")

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What the storage says of an object.

    Args:
        size: in bytes.
        version: another text for another content; empty if the storage does not say.
    """

    size: int
    version: str


@dataclass(frozen=True, slots=True)
class Objects:
    """The objects of an OUT, by their names relative to it.

    Args:
        address: of the OUT.
    """

    address: Address

    def list(self, folder: str, *, deep: bool) -> dict[str, ObjectInfo]:
        """The objects in a folder, or also below it; none if there is no such folder.

        Those whose names cannot be names of files, or would lead out of a folder, are left out.

        Raises:
            StoreError: when they cannot be listed.
        """
        place = f"{self.address.root}/{folder}".rstrip("/")
        files = self.address.files

        def request() -> Any:
            files.invalidate_cache()
            return files.find(place, detail=True) if deep else files.ls(place, detail=True)

        try:
            found = attempt(request, self._url(folder), verb="listed")
        except FileNotFoundError:
            return {}
        described = found.values() if isinstance(found, Mapping) else found
        return {
            name: _info(each)
            for each in described
            if each.get("type") == "file" and (name := self._name(str(each["name"])))
        }

    def info(self, name: str) -> ObjectInfo | None:
        """What the storage says of an object; None if there is none.

        Raises:
            StoreError: when the storage does not answer.
        """
        files, path = self.address.files, self._path(name)

        def request() -> Any:
            files.invalidate_cache()
            return files.info(path)

        try:
            found = attempt(request, self._url(name), verb="read")
        except FileNotFoundError:
            return None
        return _info(found) if found.get("type") == "file" else None

    def read(self, name: str) -> bytes | None:
        """The content of an object; None if there is none.

        Raises:
            StoreError: when it cannot be read.
        """
        files, path = self.address.files, self._path(name)
        try:
            return cast(bytes, attempt(lambda: files.cat_file(path), self._url(name), verb="read"))
        except FileNotFoundError:
            return None

    def fetch(self, name: str, info: ObjectInfo, path: Path) -> bool:
        """Write an object to a path that does not exist yet; returns whether there is such an object.

        Raises:
            StoreError: when it cannot be read, or has another size than it was listed with.
        """
        files = self.address.files

        def request() -> None:
            path.unlink(missing_ok=True)
            files.get_file(self._path(name), str(path))
            found = path.stat().st_size
            if found != info.size and (now := self.info(name)) is not None and now.size != found:
                raise ConnectionError(f"received {found:,} of {now.size:,} bytes")

        try:
            attempt(request, self._url(name), verb="read")
        except FileNotFoundError:
            return False
        return True

    def put(self, name: str, path: Path) -> ObjectInfo:
        """Write a file to an object, whole; it is there, or an earlier one stays.

        Raises:
            StoreError: when it cannot be written.
        """
        files = self.address.files
        size = os.stat(path).st_size

        def request() -> ObjectInfo:
            files.put_file(str(path), self._path(name))
            files.invalidate_cache()
            found = _info(files.info(self._path(name)))
            if found.size != size:
                raise ConnectionError(f"{found.size:,} of {size:,} bytes arrived")
            return found

        try:
            return attempt(request, self._url(name), verb="written")
        except FileNotFoundError as error:
            raise UnreadableFile(
                f"{self._url(name)} cannot be written: it was, and is not there; run the same command again"
            ) from error

    def remove(self, name: str) -> None:
        """Remove an object, if it is there.

        Raises:
            StoreError: when it cannot be removed.
        """
        files = self.address.files
        try:
            attempt(lambda: files.rm_file(self._path(name)), self._url(name), verb="removed")
        except FileNotFoundError:
            return

    def _path(self, name: str) -> str:
        return f"{self.address.root}/{name}"

    def _url(self, name: str) -> str:
        return f"{self.address.url}/{name}" if name else self.address.url

    def _name(self, path: str) -> str:
        """The name of a listed object; empty for what cannot be a file below OUT, such as a folder."""
        start = f"{self.address.root.strip('/')}/"
        name = path.lstrip("/").removeprefix(start)
        inside = path.lstrip("/").startswith(start) and _NAME.fullmatch(name)
        return name if inside and not any(part in ("", ".", "..") for part in name.split("/")) else ""


def together(action: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """Call a function for several items at a time; the first error is raised when those that run have ended.

    Args:
        action: one request.
        items: its arguments.
    """
    pool = ThreadPoolExecutor(REQUESTS, thread_name_prefix="maxact-storage")
    stop = threading.Event()

    def run(item: Item) -> Result:
        with ends_with(stop):
            return action(item)

    try:
        return list(pool.map(run, items))
    finally:
        stop.set()  # who waits to try again need not, once one has failed or a signal has come
        pool.shutdown(wait=True, cancel_futures=True)


def _info(described: Mapping[str, Any]) -> ObjectInfo:
    version = next((str(described[field]) for field in _VERSION_FIELDS if described.get(field)), "")
    return ObjectInfo(int(described.get("size") or 0), version)
