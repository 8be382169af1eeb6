"""Whether the run at an address is still the one that is being written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pipeline.errors import FingerprintMismatch
from pipeline.remote.ledger import Entry
from pipeline.remote.objects import Objects

__all__ = ["refuse_other_run"]


def refuse_other_run(objects: Objects, path: Path, known: Entry | None) -> None:
    """Refuse to replace a run.json of another run, which another machine has written since it was read.

    Args:
        objects: at the address.
        path: of the new run.json.
        known: what was last read or written there.

    Raises:
        FingerprintMismatch: says that another command writes there.
    """
    info = objects.info(path.name)
    if info is None or (known is not None and known.info == info):
        return
    ours, theirs = _fields(path.read_bytes()), _fields(objects.read(path.name) or b"")
    if theirs is not None and ours != theirs:
        raise FingerprintMismatch(
            f"{objects.address.url} got the run.json of another run while this command wrote there; nothing "
            "of it was replaced. Give each run an --out of its own"
        )


def _fields(data: bytes) -> Any:
    try:
        return json.loads(data)["fields"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
