"""Commit files at an address: of two machines that commit a part of one name, the first counts."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path

from pipeline.remote.objects import Objects
from pipeline.store.peak_files import PEAKS, PEAKS_FILE
from pipeline.store.seals import JSON

__all__ = ["is_commit", "keeps_theirs", "part_of"]

_COMMIT = re.compile(r"parts/[0-9a-f]{16}\.json")


def is_commit(name: str) -> bool:
    """Whether this is the name of a commit file."""
    return _COMMIT.fullmatch(name) is not None


def part_of(commit: str, names: Iterable[str]) -> set[str]:
    """Those of several names that are files of the part of a commit file."""
    folder = f"{commit.removesuffix('.json')}/"
    return {name for name in names if name.startswith(folder)}


def keeps_theirs(objects: Objects, folder: Path, commit: str) -> bool:
    """Whether a part is at the address already, and its commit file is another than that in the folder.

    It is the same where both machines compute alike. A damaged one does not count, nor one whose files are
    not all there.

    Args:
        objects: at the address.
        folder: with the part of this machine.
        commit: name of its commit file.
    """
    theirs = objects.read(commit)
    if theirs is None or not JSON.is_intact(theirs) or theirs == (folder / commit).read_bytes():
        return False
    tables = json.loads(theirs).get("tables", {})
    name = commit.removesuffix(".json")
    needed = {f"{name}/{PEAKS_FILE if table == PEAKS else f'{table}.parquet'}" for table in tables}
    return needed <= objects.list(name, deep=True).keys()
