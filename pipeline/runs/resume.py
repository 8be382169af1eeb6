"""What OUT holds already, and whether a run can go on from there."""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.data.shard import Shard
from pipeline.errors import FingerprintMismatch, StoreError
from pipeline.progress import Reporter
from pipeline.runs.fingerprint import refuse_mismatch
from pipeline.state.commit import Commit, list_commits
from pipeline.store.run_file import RUN_FILE, read_run
from pipeline.store.schemas import SCHEMAS

__all__ = ["is_finished", "previous_run", "recorded_compile", "remove_index", "usable_commits"]

_TABLES = tuple(f"{name}.parquet" for name in SCHEMAS)

_PART_NAME = re.compile(r"\.?[0-9a-f]{16}(\.json|\.tmp|\.json\.\d+\.tmp)?")
"""What `pipeline.state.commit` leaves in OUT/parts."""


def previous_run(
    out: Path, identity: Mapping[str, Any], fields: Mapping[str, Any], shards: Sequence[Shard]
) -> dict[str, Any] | None:
    """The run that OUT holds, which must be this one; None when there is none.

    A run that is not finished goes on although its dataset was mended or grew meanwhile, as long
    as what is committed is still there as it was.

    Args:
        out: the index's folder.
        identity: of the run to do: its fields and its dataset's listing.
        fields: of the run to do: all but the dataset that changes a result.
        shards: of the dataset.

    Raises:
        FingerprintMismatch: when OUT holds another run.
        StoreError: when it cannot be told what OUT holds.
    """
    if not (out / RUN_FILE).exists():
        if _own_parts(out) or any((out / name).exists() for name in _TABLES):
            raise StoreError(f"{out} holds tables but no {RUN_FILE}; --fresh removes them")
        return None
    run = read_run(out)
    if missing := {"status", "identity", "fields", "counts", "config"} - run.keys():
        raise StoreError(
            f"{out / RUN_FILE} has no {' and no '.join(sorted(missing))}, so this run cannot be "
            "told from another; give another --out, or --fresh to start over"
        )
    refuse_mismatch(out, run["fields"], fields)
    if run["status"] != "complete" and run["identity"] != identity:
        _refuse_changed_shards(out, shards)
    elif run["identity"] != identity:
        raise FingerprintMismatch(
            f"{out} holds the finished index of another dataset: it had "
            f"{run['identity']['dataset']}, now {identity['dataset']}. To add shards, index them "
            "into another --out and join both with `maxact merge`; --fresh starts over"
        )
    return run


def is_finished(out: Path, run: Mapping[str, Any], classes: int | None) -> bool:
    """Whether a run is complete, with as many classes per unit, and its tables are still there."""
    tables = all((out / name).exists() for name in _TABLES)
    return run["status"] == "complete" and run["config"].get("classes") == classes and tables


def recorded_compile(out: Path) -> bool | None:
    """What the run in OUT decided about compiling; None when it holds none."""
    try:
        compiled = read_run(out)["fields"]["compiled"]
    except (StoreError, KeyError, TypeError):
        return None
    return bool(compiled)


def usable_commits(parts: Path, reporter: Reporter) -> tuple[Commit, ...]:
    """The commits that a run can build on; a damaged part is dropped and done again."""
    usable = []
    for commit in list_commits(parts):
        try:
            commit.verify()
        except StoreError as error:
            reporter.note(f"{error.args[0].split(';')[0]}; its shards are done again")
            commit.path.unlink()
            shutil.rmtree(commit.folder, ignore_errors=True)
        else:
            usable.append(commit)
    return tuple(usable)


def remove_index(out: Path) -> None:
    """Remove what an index owns in OUT, the mark that it is one last; nothing else.

    Raises:
        StoreError: when a file cannot be removed.
    """
    try:
        for path in _own_parts(out):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
        with contextlib.suppress(OSError):  # somebody else's files
            (out / "parts").rmdir()
        for name in (*_TABLES, RUN_FILE):
            (out / name).unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(
            f"cannot remove the index in {out}: {error.strerror or error} ({error.filename})"
        ) from error


def _own_parts(out: Path) -> list[Path]:
    """What in OUT/parts is an index's."""
    parts = out / "parts"
    found = parts.iterdir() if parts.is_dir() else ()
    return [path for path in found if _PART_NAME.fullmatch(path.name)]


def _refuse_changed_shards(out: Path, shards: Sequence[Shard]) -> None:
    present = {shard.name: (shard.size, shard.digest) for shard in shards}
    for record in (shard for commit in list_commits(out / "parts") for shard in commit.shards):
        if present.get(record.name) != (record.size, record.digest):
            change = "has changed" if record.name in present else "is gone"
            raise FingerprintMismatch(
                f"shard {record.name}, which is committed in {out}, {change} since. Give another "
                "--out, or --fresh to remove what is there and start over"
            )
