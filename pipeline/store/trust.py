"""Whether what an index names may be loaded: code, addresses, and files outside its folder.

An index is data, and may come from somebody else. Its run.json names a network, weights, directions
and a dataset; a factory is code, a URL is an address, a path is any file. They are used only when

- the run was recorded by this user: run.json has a signature made with the user's own key, or
- the user says so for the call (`--trust`, `open_index(out, trust=True)`), or
- the user gives them again (`--network`, `--weights`, `--data`).

The key is 32 random bytes in `~/.config/maxact/index.key`, made by the first run that is recorded
and readable by its owner only. The signature is an HMAC-SHA256 of the names in run.json, with paths
resolved. An index may therefore be moved, but a changed name, or a relative path that leads to another
file, is not signed. Without a key, or with another one, every index is somebody else's.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import hmac
import importlib
import importlib.util
import json
import os
import secrets
import stat
import sysconfig
from collections.abc import Mapping
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

from pipeline.errors import StoreError, UntrustedIndex
from pipeline.progress import Reporter, Silent

__all__ = ["SIGNATURE", "is_own", "key_path", "refuse_links", "require_trust", "sign_run"]

SIGNATURE = "signature"
"""Field of run.json."""

KEY_BYTES = 32

_KEY = ".config/maxact/index.key"

_CONTEXT = b"maxact: names in run.json, version 1\n"


def key_path() -> Path:
    """The file of the user's key."""
    return Path.home() / _KEY


def sign_run(run: Mapping[str, Any], reporter: Reporter | None = None) -> dict[str, Any]:
    """The content of a run.json with the user's signature, whose key is made where there is none.

    Args:
        run: whose names the user gave, or trusts.
        reporter: told why there is no signature, when the key cannot be read or written.
    """
    content = {name: value for name, value in run.items() if name != SIGNATURE}
    try:
        key = _read_key() or _make_key()
    except (OSError, RuntimeError, StoreError) as error:  # RuntimeError: there is no home folder
        (reporter or Silent()).note(
            f"the index is not signed, as its key, ~/{_KEY}, cannot be used ({_reason(error)}): commands "
            "that load its network or its dataset will ask for --trust"
        )
        return content
    return {**content, SIGNATURE: _signature(key, content)}


def is_own(run: Mapping[str, Any]) -> bool:
    """Whether a run.json has this user's signature of what it names."""
    given = run.get(SIGNATURE)
    if not isinstance(given, str):
        return False
    try:
        key = _read_key()
        return key is not None and hmac.compare_digest(given.encode(), _signature(key, run).encode())
    except (OSError, RuntimeError, StoreError):
        return False


def require_trust(out: Path, what: str, *, trusted: bool, remedy: str) -> None:
    """Refuse something that an index names, unless it is trusted.

    Args:
        out: folder of the index.
        what: that is named and what would be done, such as `the network 'a.py:f', which is code`.
        trusted: whether the run is the user's own, or the user trusts it for this call.
        remedy: what the user may give instead, such as `--network NAME`.

    Raises:
        UntrustedIndex: when it is not trusted.
    """
    if not trusted:
        raise UntrustedIndex(
            f"{out} has no signature of yours, as another user or machine made it, so {what} is not used; "
            f"give {remedy}, or --trust (trust=True) if you know who made the index"
        )


def refuse_links(out: Path) -> None:
    """Refuse an index with a link that leads out of its folder, or with a device, pipe or socket.

    Raises:
        UntrustedIndex: at the first of them.
        StoreError: when a folder cannot be listed.
    """
    root = os.path.realpath(out)
    waiting = [str(out)]
    while waiting:
        folder = waiting.pop()
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.is_symlink():
                        _refuse_link(out, entry.path, root)
                    elif entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    elif not entry.is_file(follow_symlinks=False):
                        raise UntrustedIndex(
                            f"{entry.path!a} is neither a file nor a folder; remove it from the index"
                        )
        except OSError as error:
            # What is missing, or cannot be a folder, is reported by the reader that needs it.
            if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG):
                raise StoreError(f"{folder} cannot be listed: {error.strerror or error}") from error


def _refuse_link(out: Path, path: str, root: str) -> None:
    target = os.path.realpath(path)
    if os.path.commonpath((target, root)) != root:
        raise UntrustedIndex(
            f"{path!a} is a link that leads out of {out}, to {target!a}; replace it by a file or folder, "
            "or open the index with --trust (trust=True) if you made it"
        )


def _read_key() -> bytes | None:
    """The user's key; None when there is none yet.

    Raises:
        OSError: when it cannot be read.
        StoreError: when it is not a file that only this user can read.
    """
    try:
        descriptor = os.open(key_path(), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    with open(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.getuid():
            raise StoreError("it is not a file of yours; remove it")
        if status.st_mode & 0o077:
            raise StoreError("others can read or change it; remove it, and a new one is made")
        key = file.read(KEY_BYTES + 1)
    if len(key) != KEY_BYTES:
        raise StoreError(f"it has not {KEY_BYTES} bytes; remove it, and a new one is made")
    return key


def _make_key() -> bytes:
    """Make a key, unless another process is the first to do so.

    Raises:
        OSError: when it cannot be written.
    """
    path = key_path()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with open(descriptor, "wb") as file:
            file.write(secrets.token_bytes(KEY_BYTES))
            file.flush()
            os.fsync(descriptor)
        with contextlib.suppress(FileExistsError):  # another process's key is used
            os.link(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    key = _read_key()
    if key is None:
        raise FileNotFoundError(f"{path} was removed")
    return key


def _signature(key: bytes, run: Mapping[str, Any]) -> str:
    """HMAC-SHA256, in hexadecimal, of what a run names."""
    text = json.dumps(_names(run), sort_keys=True)
    return hmac.new(key, _CONTEXT + text.encode(), hashlib.sha256).hexdigest()


def _names(run: Mapping[str, Any]) -> dict[str, Any]:
    """Everything in run.json that leads to something outside, with local paths resolved."""
    config = run["config"]
    weights, cache = config.get("weights"), config.get("cache")
    return {
        "network": config.get("network"),
        "code": _code_place(config.get("network") or ""),
        "weights": weights if weights in (None, "random") else _resolved(weights),
        "directions": [
            (layer, _resolved(place))
            for layer, _, place in (text.rpartition("=") for text in config.get("directions") or ())
        ],
        "data": list(run["dataset"]["data"]),
        "cache": None if cache is None else _resolved(cache),
        "digest": run["network"]["digest"],
    }


def _code_place(network: str) -> str:
    """Where the code of `file.py:factory` or `package.module:factory` lies, unless it is installed."""
    place = network.rpartition(":")[0]
    if place.endswith(".py"):
        return _resolved(place)
    top = place.partition(".")[0]
    if not top.isidentifier():
        return ""
    importlib.invalidate_caches()
    try:
        # For a name without a dot, nothing is imported; the current folder is the last to be searched.
        spec = importlib.util.find_spec(top) or PathFinder.find_spec(top, [os.getcwd()])
    except (ImportError, ValueError, OSError):
        return ""
    found = None if spec is None else spec.origin or next(iter(spec.submodule_search_locations or ()), None)
    if found is None or any(Path(found).is_relative_to(folder) for folder in _installed()):
        return ""
    return _resolved(found)


def _installed() -> set[str]:
    """The folders of installed packages, which are the user's own."""
    return {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}


def _resolved(path: str | Path) -> str:
    return os.path.realpath(path)


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
