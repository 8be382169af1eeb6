"""Merges runs over shards of one dataset into one index."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.choices import EngineName
from pipeline.config import EngineConfig
from pipeline.data.shard import listing_digest
from pipeline.engines.engine import Engine
from pipeline.engines.open_engine import open_engine
from pipeline.errors import DamagedFile, StoreError
from pipeline.layers.layer import Layer
from pipeline.progress import Reporter, Silent
from pipeline.remote.local import local_folder, refuse_spread
from pipeline.runs.fingerprint import fingerprint, refuse_mismatch, run_identity
from pipeline.runs.label_names import names_given
from pipeline.runs.names import write_names
from pipeline.runs.out_folder import (
    refuse_data_folder,
    refuse_foreign_files,
    refuse_nested_indexes,
    remove_stale_thumbnails,
)
from pipeline.runs.staging import publish_tables, staging
from pipeline.runs.unit_tables import write_index
from pipeline.state.commit import (
    Commit,
    choose_disjoint,
    copy_part,
    list_commits,
    move_part,
    remove_part,
)
from pipeline.store.leftovers import writing
from pipeline.store.run_file import RUN_FILE, RunSummary, Totals, finish_run, locked, read_run, write_run
from pipeline.store.trust import is_own, refuse_links, sign_run

__all__ = ["merge_runs"]

_ADVICE = "Only runs with the same options can be merged: leave this one out, or index it again with them"


def merge_runs(
    out: Path | str,
    sources: Sequence[Path | str],
    *,
    reporter: Reporter | None = None,
    engine: EngineConfig | EngineName = "local",
) -> RunSummary:
    """Merge finished or interrupted runs over shards of one dataset into a new index.

    Parts are verified before they are copied, and copies and tables are moved to their places when
    all are written: whatever fails before that leaves OUT as it was.

    Args:
        out: the folder to write; a run that is there already is merged too.
        sources: folders written by `maxact index`, of the same fingerprint.
        reporter: shows the progress.
        engine: merges blocks of units, where there are many.

    Raises:
        DamagedFile: when a part is damaged and no other run has the same part.
        FingerprintMismatch: when the runs differ in more than their shards.
        StoreError: when parts overlap so that not every shard can be counted exactly once.
    """
    reporter = reporter or Silent()
    started = time.monotonic()
    config = EngineConfig(engine) if isinstance(engine, str) else engine
    out = local_folder(out, "*", "parts/*")
    refuse_spread(out, config.name)
    given = [local_folder(source, RUN_FILE, "parts/*") for source in sources]
    named = {source.resolve(): source for source in given}
    refuse_foreign_files(out)
    refuse_nested_indexes(out, list(named.values()))
    with contextlib.ExitStack() as stack:
        if (out / RUN_FILE).exists():
            stack.enter_context(locked(out))
            stack.enter_context(writing(out))
            named[out.resolve()] = out
        folders = list(named.values())
        for source in folders:
            refuse_links(source)
        runs = [read_run(source) for source in folders]
        for run in runs:
            refuse_data_folder(out, run["dataset"]["data"], run["config"].get("cache"))
        for source, run in zip(folders[1:], runs[1:], strict=True):
            refuse_mismatch(source, run["fields"], runs[0]["fields"], advice=_ADVICE)
        # Of equal parts the one in OUT is taken, which need not be copied.
        folders.sort(key=lambda folder: folder != out)
        chosen = _choose(_intact_commits(folders, fingerprint(runs[0]["fields"])))
        content = _content(runs, chosen)
        if all(map(is_own, runs)):
            content = sign_run(content, reporter)
        if out not in folders:
            stack.enter_context(locked(out))
            stack.enter_context(writing(out))
        opened = stack.enter_context(open_engine(config, "cpu"))
        totals = _write(out, content, chosen, reporter, opened)
        return finish_run(out, content, totals, 0, time.monotonic() - started)


def _write(
    out: Path,
    content: Mapping[str, Any],
    chosen: Sequence[Commit],
    reporter: Reporter,
    engine: Engine,
) -> Totals:
    """Write parts and tables beside those of OUT, and move them to their places at the end."""
    own = [commit for commit in chosen if commit.path.parent == out / "parts"]
    layers = tuple(Layer.from_record(layer) for layer in content["layers"])
    with staging(out) as stage:
        staged = [copy_part(commit, stage / "parts") for commit in chosen if commit not in own]
        totals = write_index(
            stage,
            layers,
            sorted((*own, *staged), key=lambda commit: [shard.name for shard in commit.shards]),
            fingerprint=content["fingerprint"],
            classes=content["config"]["classes"],
            class_names=names_given(content),
            network_classes=content["network"]["classes"],
            reporter=reporter,
            engine=engine,
        )
        write_run(out, content)
        moved = [move_part(commit, out / "parts") for commit in staged]
        _remove_others(out, {commit.path for commit in (*own, *moved)})
        publish_tables(stage, out, totals.tables)
    named = write_names(
        out,
        layers,
        sorted((*own, *moved), key=lambda commit: [shard.name for shard in commit.shards]),
        index_fingerprint=content["fingerprint"],
        class_names=names_given(content),
        reporter=reporter,
    )
    if named is not None:
        reporter.note(str(named))
    remove_stale_thumbnails(out, content["fingerprint"])
    return totals


def _intact_commits(folders: Sequence[Path], wanted: str) -> list[Commit]:
    """The parts of several runs; of parts with the same name the first is verified.

    Raises:
        DamagedFile: when a part is damaged wherever it is.
        FingerprintMismatch: when one belongs to another run.
    """
    commits: list[Commit] = []
    intact: set[str] = set()
    damaged: dict[str, str] = {}

    def note(path: Path, error: DamagedFile) -> None:
        damaged.setdefault(path.stem, f"{path.parent.parent} cannot be merged: {error}")

    for source in folders:
        # Another process may be adding parts to the run.
        for commit in list_commits(source / "parts", fingerprint=wanted, clear=False, damaged=note):
            try:
                if commit.path.stem not in intact:
                    commit.verify()
            except DamagedFile as error:
                note(commit.path, error)
            else:
                intact.add(commit.path.stem)
                commits.append(commit)
    for name, problem in damaged.items():
        if name not in intact:
            raise DamagedFile(f"{problem}, or leave this run out")
    return commits


def _choose(commits: Sequence[Commit]) -> tuple[Commit, ...]:
    """Parts that have every shard exactly once.

    Raises:
        StoreError: when there are none, or when runs are not over one dataset.
    """
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
    return chosen


def _content(runs: Sequence[Mapping[str, Any]], chosen: Sequence[Commit]) -> dict[str, Any]:
    """The content of run.json as a single run over all shards would write it."""
    records = sorted((shard for commit in chosen for shard in commit.shards), key=lambda shard: shard.name)
    listing = listing_digest((shard.name, shard.size, shard.digest) for shard in records)
    identity = run_identity(runs[0]["fields"], len(records), listing)
    data = list(dict.fromkeys(item for run in runs for item in run["dataset"]["data"]))
    return {
        **runs[0],
        "status": "incomplete",
        "tables": {},
        "parts": [],
        "identity": identity,
        "fingerprint": fingerprint(identity),
        "config": {**runs[0]["config"], "data": data, "shard_range": None},
        "dataset": {**runs[0]["dataset"], "data": data},
    }


def _remove_others(out: Path, kept: Collection[Path]) -> None:
    """Remove the parts whose shards are all in other parts, and damaged ones that are elsewhere intact."""
    for path in (out / "parts").glob("*.json"):
        if path not in kept:
            remove_part(path)
