"""What an index consists of in its folder, and which of those files maxact wrote.

Other files may lie in the same folder, also under a name that an index uses. A table is one of maxact
if its footer has the schema version; a run.json, if it has that field; a part, by its name.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import StoreError
from pipeline.store.run_file import RUN_FILE
from pipeline.store.schemas import SCHEMAS

__all__ = [
    "DISSECTION_TABLE",
    "EMBEDDINGS_TABLE",
    "INDEX_TABLES",
    "MADE_TABLES",
    "NAMES_TABLE",
    "RENDERS_TABLE",
    "SEMANTICS_TABLE",
    "THUMBNAILS_TABLE",
    "footer_of",
    "foreign_files",
    "holds_dissection",
    "holds_embeddings",
    "holds_names",
    "holds_semantics",
    "holds_thumbnails",
    "own_parts",
    "own_tables",
    "part_files",
]

INDEX_TABLES = tuple(f"{name}.parquet" for name in SCHEMAS)
"""Names of the tables of an index."""

RENDERS_TABLE = "renders.parquet"
"""Name of the table of renderings."""

THUMBNAILS_TABLE = "thumbnails.parquet"
"""Name of the table of thumbnails, which an index may have."""

NAMES_TABLE = "names.parquet"
"""Name of the table of units' names, which an index of labelled images has."""

EMBEDDINGS_TABLE = "embeddings.parquet"
"""Name of the table of patches' embeddings, which `maxact name --encoder` writes."""

SEMANTICS_TABLE = "semantics.parquet"
"""Name of the table of what the embeddings say of each unit."""

DISSECTION_TABLE = "dissection.parquet"
"""Name of the table of how well masks cover units, which `maxact dissect` writes."""

_ALL_TABLES = (
    *INDEX_TABLES,
    THUMBNAILS_TABLE,
    NAMES_TABLE,
    EMBEDDINGS_TABLE,
    SEMANTICS_TABLE,
    DISSECTION_TABLE,
    RENDERS_TABLE,
)

MADE_TABLES = (RENDERS_TABLE, EMBEDDINGS_TABLE)
"""Tables that are made from an index, take long, and outlive it where the same index is made anew."""

_VERSION_KEY = "maxact.schema_version"

_PART_NAME = re.compile(r"\.?[0-9a-f]{16}(\.json|\.tmp|\.json\.\d+\.tmp)?")
"""Names that `pipeline.state.commit` uses in OUT/parts."""

_PART_FILE = re.compile(r"(state|histogram|labels|sample|images|errors)\.parquet|peaks\.npy|\..+\.tmp")
"""Names of files in the folder of a part."""


def footer_of(path: Path) -> dict[str, str] | None:
    """The metadata of a Parquet file; None for a file that is damaged or no Parquet file.

    Raises:
        StoreError: when it cannot be opened.
    """
    try:
        metadata = pq.read_metadata(path).metadata or {}
    except pa.ArrowException:
        return None
    except OSError as error:
        if error.errno is None:  # Arrow's own: a thrift header that is none
            return None
        raise StoreError(f"{path} cannot be read: {error.strerror or error}") from error
    return {key.decode(errors="replace"): value.decode(errors="replace") for key, value in metadata.items()}


def holds_thumbnails(out: Path, fingerprint: str) -> bool:
    """Whether OUT has thumbnails of the index with a fingerprint."""
    return _is_of(out / THUMBNAILS_TABLE, fingerprint)


def holds_names(out: Path, fingerprint: str) -> bool:
    """Whether OUT has names of the units of the index with a fingerprint."""
    return _is_of(out / NAMES_TABLE, fingerprint)


def holds_embeddings(out: Path, fingerprint: str) -> bool:
    """Whether OUT has embeddings of the images of the index with a fingerprint."""
    return _is_of(out / EMBEDDINGS_TABLE, fingerprint)


def holds_semantics(out: Path, fingerprint: str) -> bool:
    """Whether OUT has what embeddings say of the units of the index with a fingerprint."""
    return _is_of(out / SEMANTICS_TABLE, fingerprint)


def holds_dissection(out: Path, fingerprint: str) -> bool:
    """Whether OUT has what masks say of the units of the index with a fingerprint."""
    return _is_of(out / DISSECTION_TABLE, fingerprint)


def _is_of(path: Path, fingerprint: str) -> bool:
    return path.is_file() and (footer_of(path) or {}).get("maxact.fingerprint") == fingerprint


def own_parts(out: Path) -> list[Path]:
    """The files and folders in OUT/parts that belong to an index."""
    parts = out / "parts"
    found = parts.iterdir() if parts.is_dir() else ()
    named = (path for path in found if _PART_NAME.fullmatch(path.name))
    return [path for path in named if not path.is_dir() or part_files(path) or not any(path.iterdir())]


def part_files(folder: Path) -> list[Path]:
    """The files in the folder of a part that maxact wrote."""
    return [path for path in folder.iterdir() if _PART_FILE.fullmatch(path.name)]


def own_tables(out: Path) -> list[Path]:
    """The tables in OUT that maxact wrote, and damaged ones beside other files of an index."""
    paths = [out / name for name in _ALL_TABLES]
    return [path for path in paths if path.is_file() and _is_own_table(path)]


def foreign_files(out: Path) -> list[Path]:
    """What has the name of a file of an index, but was not written by maxact.

    Raises:
        StoreError: when one cannot be opened.
    """
    found = []
    for name in _ALL_TABLES:
        path = out / name
        if path.is_dir() or (path.is_file() and not _is_own_table(path)):
            found.append(path)
    run = out / RUN_FILE
    if run.is_dir() or (run.is_file() and not _is_own_run(run)):
        found.append(run)
    return found


def _is_own_table(path: Path) -> bool:
    footer = footer_of(path)
    if footer is not None:
        return _VERSION_KEY in footer
    run = path.parent / RUN_FILE
    return bool(own_parts(path.parent)) or (run.is_file() and _is_own_run(run))


def _is_own_run(path: Path) -> bool:
    """Whether a run.json is one of maxact; a damaged one is, if it starts like one or beside parts."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror or error}") from error
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return '"schema_version"' in text or bool(own_parts(path.parent))
    return isinstance(content, dict) and "schema_version" in content
