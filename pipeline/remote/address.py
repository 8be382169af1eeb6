"""Addresses of an OUT: what is allowed, and nothing that could hold a secret."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.data.files import package_hint
from pipeline.data.retry import describe
from pipeline.errors import StoreError, UsageError, WrongFolder

__all__ = ["Address", "open_address", "refuse_typo"]

_FORM = re.compile(r"(?P<protocol>[A-Za-z][A-Za-z0-9+.-]*)://(?P<rest>.*)", re.DOTALL)

_TYPO = re.compile(r"(?P<protocol>s3a?|gc?s|az|abfss?|hdfs|sftp|memory|https?):(?!//).*", re.DOTALL)
"""A path that was meant to be an address."""

_READ_ONLY = ("http", "https", "data", "github", "zip", "tar", "libarchive", "reference", "git", "jupyter")
"""Protocols of fsspec that write no files, or not to a place of their own."""

_LOCAL = ("file", "local")


@dataclass(frozen=True, slots=True)
class Address:
    """Where the files of an OUT are.

    Args:
        url: without a slash at the end, and without credentials.
        files: fsspec's file system.
        root: path in it.
    """

    url: str
    files: Any
    root: str


def open_address(text: str) -> Address | Path:
    """The place that the address of an OUT names; a path for `file://`.

    Raises:
        UsageError: when it is no address of a folder that can be written.
        StoreError: when the package of its protocol is not installed.
    """
    import fsspec

    form = _FORM.fullmatch(text)
    if form is None:
        raise UsageError(f"{_masked(text)!a} is no address; write it as in s3://bucket/folder")
    protocol, rest = form["protocol"].lower(), form["rest"].rstrip("/")
    if protocol in _LOCAL:
        return Path(rest or "/")
    _refuse_parts(text, protocol, rest)
    url = f"{protocol}://{rest}"
    try:
        files, root = fsspec.core.url_to_fs(url)
    except ImportError as error:
        raise StoreError(f"cannot open {url}: {error}{package_hint(protocol)}") from error
    except ValueError as error:
        raise UsageError(
            f"cannot open {url}: fsspec knows no {protocol}://; give a path, or an address such as "
            "s3://bucket/folder"
        ) from error
    except Exception as error:
        raise StoreError(f"cannot open {url}: {describe(error)}") from error
    return Address(url, files, str(root).rstrip("/"))


def refuse_typo(path: Path | str) -> None:
    """Refuse a path that looks like an address with a slash too few, such as `s3:/bucket`.

    Raises:
        UsageError: shows what may be meant.
    """
    text = str(path)
    found = _TYPO.fullmatch(text)
    if found is not None and not Path(text.partition("/")[0]).exists():
        rest = text.partition(":")[2].lstrip("/")
        raise WrongFolder(
            f"{text!a} is neither a path nor an address; write {found['protocol']}://{rest or 'bucket/run'}"
            " (in Python as a text, as a Path loses a slash)"
        )


def _refuse_parts(text: str, protocol: str, rest: str) -> None:
    """Refuse what could hold credentials, does not write, or does not name one folder."""
    host = rest.partition("/")[0]
    if "@" in host:
        raise UsageError(
            f"the address {protocol}://...@{host.rpartition('@')[2]} has a user or a key in it, which "
            "messages would show; give credentials by the environment or the files of the storage's own tools"
        )
    if "?" in rest or "#" in rest:
        raise UsageError(
            f"the address {_masked(text)} has a query (?) or a fragment (#), which an OUT cannot have; give "
            "only protocol, bucket and folder"
        )
    if protocol in _READ_ONLY or "::" in text:
        raise UsageError(
            f"{_masked(text)} cannot hold an index, as fsspec does not write there; give a path, or an "
            "address such as s3://bucket/folder"
        )
    parts = rest.split("/")
    if not rest or any(part in ("", ".", "..") for part in parts) or set(rest) & set("\\\0*[\n\r"):
        raise UsageError(
            f"{_masked(text)!a} is no address of a folder; write it as in s3://bucket/folder, without empty "
            "parts, `..` and the letters * [ \\"
        )


def _masked(text: str) -> str:
    """An address without what could be a secret in it, for messages."""
    text = re.sub(r"://[^/]*@", "://...@", text)
    head, mark, _ = text.partition("?")
    return f"{head}?..." if mark else head
