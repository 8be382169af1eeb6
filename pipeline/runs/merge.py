"""Merges runs over shards of one dataset into one index."""

from __future__ import annotations

import shutil
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.data.shard import listing_digest
from pipeline.errors import StoreError
from pipeline.layers.layer import Layer
from pipeline.progress import Reporter, Silent
from pipeline.runs.fingerprint import fingerprint, refuse_mismatch, run_identity
from pipeline.runs.unit_tables import write_index
from pipeline.state.commit import Commit, choose_disjoint, copy_part, list_commits
from pipeline.store.run_file import RUN_FILE, RunSummary, finish_run, locked, read_run, write_run
from pipeline.store.trust import is_own, refuse_links, sign_run

__all__ = ["merge_runs"]

_ADVICE = "Only runs with the same options can be merged: leave this one out, or index it again with them"


def merge_runs(
    out: Path | str, sources: Sequence[Path | str], *, reporter: Reporter | None = None
) -> RunSummary:
    """Merge finished or interrupted runs over shards of one dataset into a new index.

    Args:
        out: the folder to write; a run that is there already is merged too.
        sources: folders written by `maxact index`, of the same fingerprint.
        reporter: shows the progress.

    Raises:
        FingerprintMismatch: when the runs differ in more than their shards.
        StoreError: when parts overlap so that not every shard can be counted exactly once.
    """
    reporter = reporter or Silent()
    started = time.monotonic()
    out = Path(out)
    named = {source.resolve(): source for source in map(Path, sources)}
    if (out / RUN_FILE).exists():
        named.setdefault(out.resolve(), out)
    folders = list(named.values())
    for source in folders:
        refuse_links(source)
    runs = [read_run(source) for source in folders]
    for source, run in zip(folders[1:], runs[1:], strict=True):
        refuse_mismatch(source, run["fields"], runs[0]["fields"], advice=_ADVICE)
    commits = [commit for source in folders for commit in _commits(source)]
    sizes: dict[str, int] = {}
    contents: dict[str, str] = {}
    for commit in commits:
        for shard in commit.shards:
            if sizes.setdefault(shard.name, shard.size) != shard.size:
                raise StoreError(
                    f"shard {shard.name} has {sizes[shard.name]} bytes in one run and "
                    f"{shard.size} in another; these are not runs over one dataset"
                )
            if contents.setdefault(shard.name, shard.content) != shard.content:
                raise StoreError(
                    f"shard {shard.name} has the same size but other content in two of the runs; "
                    "these are not runs over one dataset"
                )
    chosen, lost = choose_disjoint(commits)
    if lost:
        raise StoreError(
            f"{len(lost)} shards ({', '.join(lost[:3])}{', ...' if len(lost) > 3 else ''}) were "
            "committed in parts that also have shards of another run; such a part can be neither "
            "counted twice nor split. Index the runs with --shards-per-part 1, or over shards that "
            "do not overlap"
        )
    with locked(out):
        content = _content(runs, chosen)
        if all(map(is_own, runs)):
            content = sign_run(content, reporter)
        write_run(out, content)
        kept = tuple(copy_part(commit, out / "parts") for commit in chosen)
        _remove_others(out, {commit.path for commit in kept})
        layers = tuple(Layer(**layer) for layer in content["layers"])
        totals = write_index(
            out,
            layers,
            kept,
            fingerprint=content["fingerprint"],
            classes=content["config"]["classes"],
            reporter=reporter,
        )
        return finish_run(out, content, totals, 0, time.monotonic() - started)


def _content(runs: Sequence[Mapping[str, Any]], chosen: Sequence[Commit]) -> dict[str, Any]:
    """The content of run.json as a single run over all shards would write it."""
    records = sorted((shard for commit in chosen for shard in commit.shards), key=lambda shard: shard.name)
    listing = listing_digest((shard.name, shard.size, shard.digest) for shard in records)
    identity = run_identity(runs[0]["fields"], len(records), listing)
    data = list(dict.fromkeys(item for run in runs for item in run["dataset"]["data"]))
    return {
        **runs[0],
        "status": "incomplete",
        "identity": identity,
        "fingerprint": fingerprint(identity),
        "config": {**runs[0]["config"], "data": data},
        "dataset": {**runs[0]["dataset"], "data": data},
    }


def _commits(source: Path) -> tuple[Commit, ...]:
    """The commits of a run to which another process may be adding."""
    return list_commits(source / "parts", clear=False)


def _remove_others(out: Path, kept: Collection[Path]) -> None:
    """Remove the parts whose shards are all in other parts."""
    for commit in list_commits(out / "parts"):
        if commit.path not in kept:
            commit.path.unlink(missing_ok=True)
            shutil.rmtree(commit.folder, ignore_errors=True)
