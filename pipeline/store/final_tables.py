"""The tables of a finished index as `run.json` records them: whether they are still what was written.

A run that was finished before digests were recorded has none: of its tables it is only known that
they must exist.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipeline.errors import DamagedFile
from pipeline.store.digests import FileDigest, find_damage
from pipeline.store.schemas import LATER_TABLES, SCHEMAS

__all__ = ["damaged_tables", "has_digests", "record_tables", "recorded_tables", "refuse_damaged_tables"]


def record_tables(tables: Mapping[str, FileDigest]) -> dict[str, dict[str, Any]]:
    """The digests by table as plain values, for `tables` of run.json."""
    return {name: asdict(digest) for name, digest in tables.items()}


def recorded_tables(run: Mapping[str, Any]) -> dict[str, FileDigest]:
    """The digests by table that a run.json has; none for an unfinished or an old run."""
    return {name: FileDigest(**digest) for name, digest in run.get("tables", {}).items()}


def has_digests(run: Mapping[str, Any]) -> bool:
    """Whether a finished run recorded the digest of every table."""
    return recorded_tables(run).keys() >= SCHEMAS.keys() - LATER_TABLES


def damaged_tables(out: Path, run: Mapping[str, Any], *, whole: bool) -> dict[str, str]:
    """The tables that are not as they were written, by name, and what is wrong with each.

    Args:
        out: folder of the index.
        run: content of its run.json.
        whole: read the tables completely. Otherwise only their size and end are compared, so that
            damage elsewhere in a table of more than 64 KiB is not found.
    """
    recorded = recorded_tables(run)
    found = {}
    for name in SCHEMAS:
        path = out / f"{name}.parquet"
        if name in recorded:
            damage = find_damage(path, recorded[name], whole=whole)
        else:
            damage = None if path.is_file() or name in LATER_TABLES else "is missing"
        if damage:
            found[name] = damage
    return found


def refuse_damaged_tables(out: Path, run: Mapping[str, Any], *, whole: bool = False) -> None:
    """Refuse a finished index whose tables are not as they were written; see `damaged_tables`.

    Raises:
        DamagedFile: names each table, what is wrong with it, and how to rebuild it.
    """
    damaged = damaged_tables(out, run, whole=whole)
    if damaged:
        listed = ", ".join(f"{out / name}.parquet {damage}" for name, damage in damaged.items())
        raise DamagedFile(
            f"{listed}; `maxact repair {out}` rebuilds {'it' if len(damaged) == 1 else 'them'} from the parts"
        )
