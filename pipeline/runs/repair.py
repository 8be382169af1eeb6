"""Rebuilds the tables of a finished index from its parts, without the dataset, the network or its weights."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.data.shard import listing_digest
from pipeline.errors import DamagedFile
from pipeline.layers.layer import Layer
from pipeline.progress import Reporter, Silent, readable_count
from pipeline.remote.local import local_folder
from pipeline.runs.fingerprint import fingerprint, refuse_other_state, run_identity
from pipeline.runs.label_names import names_given
from pipeline.runs.names import names_damage, write_names
from pipeline.runs.staging import publish_tables, remove_stage, staging
from pipeline.runs.unit_tables import write_index
from pipeline.state.commit import Commit, list_commits
from pipeline.state.commit_file import write_commit
from pipeline.store.digests import FileDigest, find_damage
from pipeline.store.final_tables import damaged_tables, has_digests, record_tables, recorded_tables
from pipeline.store.run_file import locked, read_finished_run, write_run
from pipeline.store.trust import refuse_links
from pipeline.working_copies import publish

__all__ = ["Repair", "repair_index"]

_SHOWN = 3
"""Shards and files that a message names."""

_AGAIN = "run the same `maxact index` again, which indexes only the missing shards and writes the tables"


@dataclass(frozen=True, slots=True)
class Repair:
    """What a repair did.

    Args:
        out: folder of the index.
        rebuilt: tables that were written again, and what was wrong with each; damaged names are those of
            `maxact name` without options.
        identical: whether they have the bytes that were recorded; None if there was no record.
        recorded: whether digests were added to run.json.
        seconds: duration.
    """

    out: Path
    rebuilt: Mapping[str, str]
    identical: bool | None
    recorded: bool
    seconds: float


def repair_index(out: Path | str, *, reporter: Reporter | None = None) -> Repair:
    """Compare the tables of an index with their digests and rebuild those that differ from its parts.

    Tables of an index without digests are compared with rebuilt ones, and their digests recorded.

    Args:
        out: folder of a finished index.
        reporter: shows the progress.

    Raises:
        DamagedFile: when run.json or a part is damaged, so that the tables cannot be rebuilt.
        StoreError: when OUT holds no finished index, or cannot be written.
        UntrustedIndex: when a link leads out of OUT.
    """
    reporter, out, started = reporter or Silent(), local_folder(out, "*", "parts/*"), time.monotonic()
    refuse_links(out)
    read_finished_run(out)  # before the folder is created or locked
    with locked(out):
        remove_stage(out)
        done = _repair(out, reporter, started)
        publish(out)
        return done


def _repair(out: Path, reporter: Reporter, started: float) -> Repair:
    """Rebuild what is damaged; OUT must be locked."""
    run = read_finished_run(out)
    damaged = damaged_tables(out, run, whole=True)
    what = names_damage(out)
    names = {"names": what} if what else {}
    if has_digests(run) and not damaged and not names:
        return Repair(out, {}, None, False, time.monotonic() - started)
    commits = _intact_commits(out, run)
    if names:
        _name_again(out, run, commits, reporter)
        if has_digests(run) and not damaged:
            return Repair(out, names, None, False, time.monotonic() - started)
    with staging(out) as stage:
        totals = write_index(
            stage,
            tuple(Layer.from_record(layer) for layer in run["layers"]),
            commits,
            fingerprint=run["fingerprint"],
            classes=run["config"]["classes"],
            class_names=names_given(run),
            network_classes=run["network"]["classes"],
            reporter=reporter,
        )
        identical = recorded_tables(run) == totals.tables if has_digests(run) else None
        if not identical:
            # Another version of a library may have compressed the same rows to other bytes.
            damaged = _different(out, totals.tables, damaged)
        publish_tables(stage, out, damaged)
    if not identical:
        write_run(out, {**run, "tables": record_tables(totals.tables), "parts": list(totals.parts)})
    for commit in commits:
        if not commit.sealed:
            write_commit(commit)
    return Repair(out, {**damaged, **names}, identical, not identical, time.monotonic() - started)


def _name_again(out: Path, run: Mapping[str, Any], commits: Sequence[Commit], reporter: Reporter) -> None:
    write_names(
        out,
        [Layer.from_record(layer) for layer in run["layers"]],
        commits,
        index_fingerprint=run["fingerprint"],
        class_names=names_given(run),
        reporter=reporter,
    )


def _different(out: Path, tables: Mapping[str, FileDigest], damaged: Mapping[str, str]) -> dict[str, str]:
    """The tables of OUT that are not these, and what is known to be wrong with each."""
    return {
        name: damaged.get(name, "was not what the parts give")
        for name, digest in tables.items()
        if find_damage(out / f"{name}.parquet", digest, whole=True)
    }


def _intact_commits(out: Path, run: Mapping[str, Any]) -> tuple[Commit, ...]:
    """The parts of an index, all of them verified and none missing."""
    refuse_other_state(out, run, "rebuilds tables")
    problems: list[str] = []
    commits = list_commits(
        out / "parts",
        fingerprint=fingerprint(run["fields"]),
        damaged=lambda path, error: problems.append(f"{path} is damaged"),
    )
    for commit in commits:
        problems += [f"{path} {what}" for path, what in commit.find_damage()]
    if problems:
        more = f" (and {len(problems) - _SHOWN} more)" if len(problems) > _SHOWN else ""
        raise DamagedFile(
            f"the tables of {out} cannot be rebuilt: {', '.join(problems[:_SHOWN])}{more}; {_AGAIN}"
        )
    shards = [shard for commit in commits for shard in commit.shards]
    shards.sort(key=lambda shard: shard.name)
    listing = listing_digest((shard.name, shard.size, shard.digest) for shard in shards)
    if run_identity(run["fields"], len(shards), listing) != run["identity"]:
        found, expected = readable_count(len(shards), "shard"), run["dataset"]["shards"]
        raise DamagedFile(
            f"the tables of {out} cannot be rebuilt: its parts have {found}, the index {expected:,}, or "
            f"others; {_AGAIN}"
        )
    return commits
