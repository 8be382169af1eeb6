"""OUT/run.json: what a run is, and whether its tables are there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.errors import StoreError
from pipeline.store import SCHEMA_VERSION, atomic_path

__all__ = ["RUN_FILE", "read_finished_run", "read_run", "write_run"]

RUN_FILE = "run.json"


def read_run(out: Path) -> dict[str, Any]:
    """The content of OUT/run.json; `status` is `incomplete` until the tables are written.

    Raises:
        StoreError: when OUT holds no run, or one of another schema version.
    """
    if not out.exists():
        raise StoreError(f"{out} does not exist; make an index with `maxact index DATA --out {out}`")
    try:
        content = json.loads((out / RUN_FILE).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise StoreError(
            f"{out} holds no index ({RUN_FILE} is missing); make one with `maxact index DATA "
            f"--out {out}`"
        ) from error
    except (OSError, ValueError) as error:
        raise StoreError(f"{out / RUN_FILE} cannot be read: {error}") from error
    found = content.get("schema_version") if isinstance(content, dict) else None
    if found != SCHEMA_VERSION:
        raise StoreError(
            f"{out} has schema version {found}, this maxact reads {SCHEMA_VERSION}; "
            "index again, or use the maxact that wrote it"
        )
    run: dict[str, Any] = content
    return run


def read_finished_run(out: Path) -> dict[str, Any]:
    """The content of OUT/run.json of a run whose tables are there.

    Raises:
        StoreError: when OUT holds no finished index.
    """
    run = read_run(out)
    if run.get("status", "complete") != "complete":
        raise StoreError(
            f"{out} holds an index that is not finished; run the same `maxact index` again"
        )
    return run


def write_run(out: Path, content: Mapping[str, Any]) -> None:
    """Replace OUT/run.json, whole or not at all.

    Raises:
        StoreError: when it cannot be written.
    """
    with atomic_path(out / RUN_FILE) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
