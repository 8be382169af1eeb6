"""OUT/run.json: the description of a run and its status; the lock on a folder."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import DamagedFile, StoreError, WrongFolder
from pipeline.store.digests import FileDigest
from pipeline.store.files import atomic_path
from pipeline.store.final_tables import record_tables
from pipeline.store.inside import inside
from pipeline.store.locks import lock_refused
from pipeline.store.run_record import refuse_invalid_run
from pipeline.store.schemas import SCHEMA_VERSION
from pipeline.store.seals import JSON, seal_json
from pipeline.working_copies import publish

__all__ = [
    "RUN_FILE",
    "RunSummary",
    "Totals",
    "fingerprint_of_index",
    "finish_run",
    "locked",
    "read_finished_run",
    "read_run",
    "write_run",
]

RUN_FILE = "run.json"


@dataclass(frozen=True, slots=True)
class Totals:
    """Numbers of rows of a finished index, its tables, and the parts that they were merged from.

    Args:
        images, errors, units, layers, shards: numbers.
        tables: the digest of each table.
        parts: names of the parts.
    """

    images: int
    errors: int
    units: int
    layers: int
    shards: int
    tables: Mapping[str, FileDigest]
    parts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RunSummary:
    """The result of a run, in numbers."""

    out: Path
    images: int
    errors: int
    units: int
    layers: int
    resumed_shards: int
    seconds: float


def read_run(out: Path) -> dict[str, Any]:
    """The content of OUT/run.json; `status` is `incomplete` until the tables are written.

    Raises:
        StoreError: when OUT holds no run, one of another schema version, or a field of it is not
            what it must be.
        DamagedFile: when the file is not as it was written.
    """
    try:
        if not out.exists():
            raise WrongFolder(f"{out} does not exist; create an index with `maxact index DATA --out {out}`")
        path = inside(out, RUN_FILE)
        if path.exists() and not path.is_file():
            raise StoreError(f"{path} is not a file")
        data = path.read_bytes()
        intact = JSON.is_intact(data)
        if intact is False:
            raise _damaged(out)
        content = json.loads(data.decode("utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise WrongFolder(
            f"{out} holds no index ({RUN_FILE} is missing); create one with `maxact index DATA --out {out}`"
        ) from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        kind = WrongFolder if getattr(error, "errno", None) == errno.ENAMETOOLONG else StoreError
        raise kind(f"{out / RUN_FILE} cannot be read: {reason}") from error
    if not isinstance(content, dict) or "schema_version" not in content:
        raise StoreError(
            f"{out / RUN_FILE} is not a file of maxact (it has no schema_version), so {out} holds no index; "
            "give another folder, or move that file elsewhere"
        )
    found = content["schema_version"]
    if found != SCHEMA_VERSION:
        raise StoreError(
            f"{out} has schema version {found}, this maxact reads {SCHEMA_VERSION}; "
            "index again with --fresh, or use the maxact that wrote it"
        )
    if intact is None and "tables" in content:
        raise _damaged(out)
    refuse_invalid_run(out / RUN_FILE, content)
    run: dict[str, Any] = content
    return run


def read_finished_run(out: Path) -> dict[str, Any]:
    """The content of OUT/run.json of a finished run.

    Raises:
        StoreError: when OUT holds no finished index.
    """
    run = read_run(out)
    if run.get("status", "complete") != "complete":
        raise StoreError(f"the index in {out} is not finished; run the same `maxact index` again")
    return run


def fingerprint_of_index(out: Path, network_digest: str) -> str | None:
    """The fingerprint of the index in OUT, if there is one that a network of this digest made; else None."""
    try:
        run = read_run(out)
    except StoreError:
        return None
    return str(run["fingerprint"]) if run["network"]["digest"] == network_digest else None


def write_run(out: Path, content: Mapping[str, Any]) -> None:
    """Replace OUT/run.json atomically; at the address of a working copy, after all files written before.

    Raises:
        StoreError: when it cannot be written.
    """
    with atomic_path(out / RUN_FILE) as temporary:
        temporary.write_text(seal_json({"tables": {}, "parts": [], **content}), encoding="utf-8")
    publish(out)


def _damaged(out: Path) -> DamagedFile:
    return DamagedFile(
        f"{out / RUN_FILE} was changed after it was written (its SHA-256 differs); restore it from a copy, "
        "or run the same `maxact index` again, which writes it anew and keeps committed work"
    )


def finish_run(
    out: Path, content: dict[str, Any], totals: Totals, resumed: int, seconds: float
) -> RunSummary:
    """Mark a run as complete once its tables are written.

    Args:
        out: folder of the index.
        content: of run.json so far.
        totals: of the tables.
        resumed: shards that were committed before this run.
        seconds: duration of this run.

    Raises:
        StoreError: when run.json cannot be written.
    """
    content["status"] = "complete"
    content["tables"] = record_tables(totals.tables)
    content["parts"] = list(totals.parts)
    content["dataset"]["shards"] = totals.shards
    content["counts"] = {
        "images": totals.images,
        "errors": totals.errors,
        "units": totals.units,
        "layers": totals.layers,
    }
    content["timings"] = {"seconds": round(seconds, 3)}
    write_run(out, content)
    return RunSummary(out, totals.images, totals.errors, totals.units, totals.layers, resumed, seconds)


@contextlib.contextmanager
def locked(out: Path, name: str = ".lock", *, wait: bool = False) -> Iterator[None]:
    """Lock a folder against other processes while the context is open.

    Args:
        out: the folder; created if it does not exist.
        name: of the lock file in it; locks of different names are independent.
        wait: until another process releases the lock.

    Raises:
        StoreError: when another process holds the lock, or the folder cannot be created or locked.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(out / name, os.O_RDWR | os.O_CREAT, 0o644)
    except (FileExistsError, NotADirectoryError) as error:
        raise WrongFolder(f"{out} is not a folder; give a folder or a new name") from error
    except OSError as error:
        raise StoreError(f"cannot write into {out}: {error.strerror or error}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError as error:
        os.close(descriptor)
        raise lock_refused(out, error) from error
    try:
        yield
    finally:
        os.close(descriptor)
