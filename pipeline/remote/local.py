"""The folder of this machine that stands for an OUT, which may be at an address.

Each process has a folder of its own for each address, `CACHE/remote/HASH-N/NAME`, where N is the first number
that no running process holds. So files that one command reads are not replaced by another, and what a command
has fetched is there for the next one.
"""

from __future__ import annotations

import fcntl
import hashlib
import itertools
import os
import threading
from pathlib import Path

from pipeline.data.dataset import default_cache
from pipeline.errors import StoreError, UsageError, WrongFolder
from pipeline.remote.address import Address, open_address, refuse_typo
from pipeline.remote.mirror import Mirror
from pipeline.remote.objects import Objects
from pipeline.store.files import make_folder
from pipeline.working_copies import address_of, copy_of, is_address, pull, register, unregister

__all__ = ["local_folder", "refuse_data_address", "refuse_spread", "release"]

_held: dict[str, tuple[Path, int]] = {}
"""By address, the folder and the descriptor that holds its lock until the process ends."""

_guard = threading.Lock()


def local_folder(out: Path | str, *patterns: str, cache: Path | None = None) -> Path:
    """The folder in which the files of an OUT are read and written.

    Args:
        out: a path, or an address such as `s3://bucket/run`.
        patterns: files that are going to be read, see `pipeline.working_copies.pull`; of an OUT at an
            address, they are in the folder as they are there now.
        cache: folder of working copies; None for the default.

    Raises:
        UsageError: when it is no address of a folder that can be written.
        StoreError: when the files cannot be read.
    """
    if not is_address(out):
        refuse_typo(out)
        folder = Path(out)
    else:
        address = open_address(str(out))
        if isinstance(address, Path):
            return address
        with _guard:
            if address.url not in _held:
                _held[address.url] = _take(address, (cache or default_cache()) / "remote")
            folder = _held[address.url][0]
    if patterns:
        pull(folder, *patterns)
    return folder


def release() -> None:
    """Give up the working copies of this process; other processes may then use what was fetched."""
    with _guard:
        for folder, lock in _held.values():
            unregister(folder)
            os.close(lock)
        _held.clear()


def refuse_spread(out: Path, engine: str) -> None:
    """Refuse an engine whose processes read or write the folder of OUT, if that is a working copy.

    Raises:
        UsageError: names what works.
    """
    if engine != "local" and copy_of(out) is not None:
        raise UsageError(
            f"--engine {engine} needs an OUT that all nodes have as a folder, and {address_of(out)} is none; "
            "use --engine local (`maxact index` takes both)"
        )


def refuse_data_address(out: str, data: str) -> None:
    """Refuse an OUT at the address of the dataset, in it, or around it.

    Args:
        out: address of the OUT.
        data: an argument that names a dataset.

    Raises:
        WrongFolder: names both.
    """
    if not (is_address(out) and is_address(data)):
        return
    place = f"{data.partition('*')[0].partition('{')[0].rstrip('/')}/"
    if f"{out}/".startswith(place) or place.startswith(f"{out}/"):
        raise WrongFolder(f"{out} is not apart from the dataset {data}; give another --out")


def _take(address: Address, folder: Path) -> tuple[Path, int]:
    """The first working copy that no other process has, and the descriptor of its lock."""
    make_folder(folder)
    digest = hashlib.sha256(address.url.encode()).hexdigest()[:16]
    for number in itertools.count():
        lease = folder / f"{digest}-{number}"
        make_folder(lease)
        try:
            lock = os.open(lease / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise StoreError(
                f"cannot write into {lease}: {error.strerror or error}; files of {address.url} are kept "
                "there, set MAXACT_CACHE to another folder"
            ) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            continue
        except OSError as error:
            os.close(lock)
            raise StoreError(
                f"cannot lock {lease}: {error.strerror or error}; set MAXACT_CACHE to a folder on a disk "
                "of this machine"
            ) from error
        place = lease.resolve() / (address.root.rpartition("/")[2] or "out")
        register(place, Mirror(Objects(address), place, lease / "ledger"))
        return place, lock
    raise AssertionError("unreachable")
