"""Compares every table of an index with a merge of its parts, row by row.

The parts are verified, merged and written as tables into a temporary folder by the code that writes
an index. The same rows give the same bytes there; where bytes differ, DuckDB joins the rows by key.
Needs as much room in the temporary folder as the tables take in OUT, and memory as a merge.
"""

from __future__ import annotations

import glob
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.check.findings import MAX_KEPT, Discrepancy, Findings
from pipeline.check.structure import recorded_layers
from pipeline.data.shard import listing_digest
from pipeline.errors import MaxactError, UnreadableFile
from pipeline.progress import Reporter
from pipeline.runs.fingerprint import fingerprint, run_identity
from pipeline.runs.label_names import names_given
from pipeline.runs.unit_tables import write_index
from pipeline.state.commit import Commit
from pipeline.store.files import sha256_file
from pipeline.store.schemas import DEFAULTS, SCHEMAS

__all__ = ["check_commits", "compare_with_parts"]

KEYS: Mapping[str, tuple[str, ...]] = {
    "layers": ("layer",),
    "images": ("image_id",),
    "top": ("layer", "unit", "side", "rank"),
    "units": ("layer", "unit"),
    "strata": ("layer", "unit", "image_id"),
    "classes": ("layer", "unit", "label"),
    "histograms": ("layer", "unit", "lower"),
    "errors": ("shard", "key"),
    "predictions": ("image_id", "rank"),
}
"""Columns by which the rows of two tables are joined; rows of equal keys are joined in their order."""

_ABOUT = ("layer", "unit", "image_id")
"""Columns that a `Discrepancy` names."""

_MEMORY = "1GB"
"""Memory that DuckDB may use before it spills to the temporary folder."""

_DAMAGE = (MaxactError, ArithmeticError, LookupError, TypeError, ValueError, OSError, pa.ArrowException)
"""What a merge of parts raises that are not what they must be."""


def check_commits(run: Mapping[str, Any], commits: Sequence[Commit]) -> Findings:
    """Verify the digests of all parts, and that the parts are those of the run.

    Args:
        run: the content of run.json, which `check_run` has accepted.
        commits: all of its parts.

    Raises:
        UnreadableFile: when a file cannot be read for the moment, which is no damage.
    """
    found = Findings()
    units = sum(layer["units"] for layer in run["layers"])
    expected = fingerprint(run["fields"])
    for commit in commits:
        name = f"parts/{commit.path.name}"
        if commit.fingerprint != expected:
            found.add(Discrepancy.of_index(f"{name} is of another run: fingerprint {commit.fingerprint}"))
        if (commit.units, commit.k) != (units, run["config"]["top"]):
            found.add(
                Discrepancy.of_index(
                    f"{name} has {commit.units} units and lists of {commit.k}, expected {units} and "
                    f"{run['config']['top']}"
                )
            )
        try:
            commit.verify()
            rows = {table: _rows(commit.folder / f"{table}.parquet") for table in ("images", "errors")}
        except UnreadableFile:
            raise
        except _DAMAGE as error:
            found.add(Discrepancy.of_index(_reason(error)))
            continue
        for table, count in rows.items():
            recorded = sum(getattr(shard, table) for shard in commit.shards)
            if count != recorded:
                found.add(Discrepancy.of_index(f"{name} says {recorded} {table}, its table has {count}"))
    found_shards = sorted((shard for commit in commits for shard in commit.shards), key=lambda s: s.name)
    listing = listing_digest((shard.name, shard.size, shard.digest) for shard in found_shards)
    identity = run_identity(run["fields"], len(found_shards), listing)["dataset"]
    if identity != run["identity"].get("dataset"):
        found.add(
            Discrepancy.of_index(f"the parts have {identity}, run.json {run['identity'].get('dataset')}")
        )
    return found


def _rows(path: Path) -> int:
    return int(pq.read_metadata(path).num_rows)


def _reason(error: BaseException) -> str:
    """A message on one line; that of a merge of damaged parts may have any type."""
    text = " ".join(str(error).split())
    return text if isinstance(error, MaxactError) else f"the parts cannot be merged: {text or repr(error)}"


def compare_with_parts(
    out: Path, run: Mapping[str, Any], commits: Sequence[Commit], reporter: Reporter
) -> Iterator[Findings]:
    """Write the tables again from verified parts, and compare them with those of an index.

    Args:
        out: folder of the index.
        run: the content of its run.json, which `check_run` has accepted.
        commits: its parts, which `check_commits` has accepted.
        reporter: shows the progress.
    """
    with tempfile.TemporaryDirectory(prefix="maxact-check-") as folder:
        try:
            write_index(
                Path(folder),
                recorded_layers(run),
                commits,
                fingerprint=run["fingerprint"],
                classes=run["config"]["classes"],
                class_names=names_given(run),
                network_classes=run["network"]["classes"],
                reporter=reporter,
            )
        except UnreadableFile:
            raise
        except _DAMAGE as error:
            found = Findings()
            found.add(Discrepancy.of_index(_reason(error)))
            yield found
            return
        for table in SCHEMAS:
            name = f"{table}.parquet"
            if sha256_file(out / name) != sha256_file(Path(folder) / name):
                yield _compare_table(table, out / name, Path(folder) / name)


def _compare_table(table: str, ours: Path, theirs: Path) -> Findings:
    """Find the rows in which two tables of the same columns differ.

    Args:
        table: its name.
        ours: of the index.
        theirs: of the parts; in its folder DuckDB spills what exceeds its memory.
    """
    found = Findings()
    columns = SCHEMAS[table].names
    config = {"temp_directory": str(theirs.parent / "spill"), "memory_limit": _MEMORY}
    with duckdb.connect(config=config) as connection:
        connection.execute("SET enable_progress_bar = false")
        files = {"ours": glob.escape(str(ours)), "theirs": glob.escape(str(theirs))}
        try:
            query = _differences(table, {"ours": _lacking(table, ours), "theirs": _lacking(table, theirs)})
            rows = connection.execute(f"{query} LIMIT {MAX_KEPT}", files).fetchall()
        except (duckdb.Error, pa.ArrowException) as error:
            found.add(Discrepancy.of_index(f"{ours.name} cannot be compared: {str(error).splitlines()[0]}"))
            return found
    width = len(columns)
    described = (_describe(table, row[0], row[1], row[2 : 2 + width], row[2 + width : -1]) for row in rows)
    found.add_rows(described, rows[0][-1] if rows else 0)
    return found


def _lacking(table: str, path: Path) -> dict[str, str]:
    """The columns that a file does not have, with what they then hold, in SQL."""
    present = pq.read_schema(path).names
    return {name: value for name, value in DEFAULTS.get(table, {}).items() if name not in present}


def _differences(table: str, lacking: Mapping[str, Mapping[str, str]]) -> str:
    """SELECT the places and values of the rows that differ, ours first, and their number.

    Rows are joined by key. Only if all rows are there and equal does their order count.

    Args:
        table: its name.
        lacking: for either side, as from `_lacking`.
    """
    columns, keys = SCHEMAS[table].names, KEYS[table]
    named = ", ".join(f'"{key}"' for key in keys)
    sides = ", ".join(
        f"""{side} AS (
            SELECT *, {"".join(f'{value} AS "{name}", ' for name, value in lacking[side].items())}
                row_number() OVER (PARTITION BY {named} ORDER BY file_row_number) AS occurrence
            FROM read_parquet(${side}, file_row_number = true)
        )"""
        for side in ("ours", "theirs")
    )
    joined = " AND ".join(
        f'ours."{key}" IS NOT DISTINCT FROM theirs."{key}"' for key in (*keys, "occurrence")
    )
    values = ", ".join(f'{side}."{column}"' for side in ("ours", "theirs") for column in columns)
    differs = " OR ".join(f'ours."{column}" IS DISTINCT FROM theirs."{column}"' for column in columns)
    return f"""
        WITH {sides}, compared AS (
            SELECT ours.file_row_number AS our_place, theirs.file_row_number AS their_place, {values},
                (our_place IS NULL OR their_place IS NULL OR {differs}) AS other,
                our_place IS DISTINCT FROM their_place AS moved
            FROM ours FULL OUTER JOIN theirs ON {joined}
        ), judged AS (
            SELECT * EXCLUDE (other, moved), other, moved, bool_or(other) OVER () AS any_other FROM compared
            WHERE other OR moved
        )
        SELECT * EXCLUDE (other, moved, any_other), count(*) OVER () FROM judged
        WHERE other OR NOT any_other
        ORDER BY coalesce(their_place, our_place), our_place
    """


def _describe(
    table: str, our_place: int | None, their_place: int | None, ours: Sequence[Any], theirs: Sequence[Any]
) -> Discrepancy:
    """One row of the result of `_differences`."""
    columns = SCHEMAS[table].names
    row = dict(zip(columns, theirs if our_place is None else ours, strict=True))
    where = " ".join(f"{key} {row[key]}" for key in KEYS[table] if key not in _ABOUT)
    named = f"{table} {where}".rstrip()
    if our_place is None:
        what = f"{named} is missing, the parts have it"
    elif their_place is None:
        what = f"{named} is not in the parts"
    else:
        changes = [
            f"{column} {our!r}, by the parts {their!r}"
            for column, our, their in zip(columns, ours, theirs, strict=True)
            if our != their and not (our != our and their != their)
        ]
        place = f"is row {our_place}, by the parts {their_place}"
        what = f"{named}: {'; '.join(changes)}" if changes else f"{named} {place}"
    return Discrepancy(
        str(row.get("layer") or ""),
        _number(row.get("unit")),
        _number(row.get("image_id")),
        what,
    )


def _number(value: Any) -> int:
    return -1 if value is None else int(value)
