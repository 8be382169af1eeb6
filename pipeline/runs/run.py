"""A run from its configuration to its tables: plan, index missing shards, merge.

OUT/run.json is written when the run starts, with status `incomplete`, and again when the tables are
written, with status `complete`. Between the two only parts are added, so the same command resumes an
interrupted run after its last commit.
"""

from __future__ import annotations

import time
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from pipeline.config import RunConfig
from pipeline.data.dataset import Dataset, Shard
from pipeline.engines.engine import Engine
from pipeline.engines.index_work import IndexWork, index_groups
from pipeline.engines.open_engine import open_engine
from pipeline.engines.sameness import identify
from pipeline.networks.network import Network
from pipeline.progress import Reporter, Silent, readable_count
from pipeline.remote.local import local_folder
from pipeline.runs.fingerprint import fingerprint
from pipeline.runs.names import write_names
from pipeline.runs.out_folder import (
    refuse_data_folder,
    refuse_foreign_files,
    remove_index,
    remove_stale_thumbnails,
)
from pipeline.runs.plan import Plan, make_plan
from pipeline.runs.resume import (
    fetch_parts,
    is_finished,
    previous_run,
    refuse_lost_shards,
    usable_commits,
)
from pipeline.runs.same_data import refuse_replaced_shards
from pipeline.runs.shard_groups import divide, shards_per_part
from pipeline.runs.thumbnails import write_thumbnails
from pipeline.runs.unit_tables import write_index
from pipeline.state.commit import list_commits
from pipeline.store.digests import digest_file
from pipeline.store.layout import THUMBNAILS_TABLE, holds_thumbnails
from pipeline.store.leftovers import writing
from pipeline.store.run_file import RunSummary, finish_run, locked, write_run
from pipeline.store.trust import SIGNATURE, is_own, sign_run
from pipeline.working_copies import address_of, copy_of, publish

__all__ = ["run_index"]

_MADE_FILES = ("renders/*", "sheets/*", "projections/*", "prior/*", "atlas/*")
"""Files that are made from an index, and stay when the same index is made anew."""


def run_index(
    config: RunConfig,
    *,
    network: Network | None = None,
    dataset: Dataset | None = None,
    reporter: Reporter | None = None,
    engine: Engine | None = None,
) -> RunSummary:
    """Index a dataset, or finish an interrupted run of the same configuration.

    Args:
        config: of the run.
        network: used instead of loading `config.network`; run.json then has its own name.
        dataset: used instead of opening `config.data`.
        reporter: shows the progress.
        engine: used instead of opening the one that the configuration names.

    Raises:
        MaxactError: see `pipeline.errors`; parts committed so far are kept.
    """
    reporter = reporter or Silent()
    started = time.monotonic()
    data = config.as_json()["data"] if dataset is None else dataset.data
    # A run that starts over reads no part, but what may be of another index.
    wanted = ("*", *_MADE_FILES) if config.fresh else ("*", "parts/*.json")
    config = replace(config, out=local_folder(config.out, *wanted, cache=config.cache))
    refuse_data_folder(config.out, data, config.cache)
    refuse_foreign_files(config.out)
    opened = open_engine(config.spread, config.device) if engine is None else nullcontext(engine)
    with opened as found:
        plan = make_plan(config, network, dataset, found, reporter)
        with locked(config.out):
            if config.fresh:
                with writing(config.out, alone=True):
                    remove_index(config.out, keep=fingerprint(plan.identity))
            with writing(config.out):
                return _run(plan, reporter, started)


def _run(plan: Plan, reporter: Reporter, started: float) -> RunSummary:
    config, out = plan.config, plan.config.out
    parts = out / "parts"
    shards = plan.dataset.shards
    wanted = fingerprint(plan.fields)
    previous = previous_run(out, plan.identity, plan.fields, shards, reporter)
    commits = usable_commits(parts, wanted, reporter)
    publish(out)  # parts found damaged are removed at the address before they are committed again
    refuse_replaced_shards(out, commits, shards, reporter)
    done = {shard.name for commit in commits for shard in commit.shards}
    named = config.class_names is not None
    finished = previous is not None and is_finished(
        out, previous, config.classes, reporter, class_names=plan.network.classes, names_given=named
    )
    kept = "patches" not in config.keep or holds_thumbnails(out, fingerprint(plan.identity))
    if previous is not None and finished and kept and len(done) == len(shards):
        _sign_again(plan, previous, reporter)
        reporter.note(f"{out} is complete; nothing to do (--fresh starts over)")
        counts = previous["counts"]
        return RunSummary(
            out,
            counts["images"],
            counts["errors"],
            counts["units"],
            counts["layers"],
            len(done),
            time.monotonic() - started,
        )
    content = sign_run(plan.content(), reporter)
    write_run(out, content)
    if done:
        reporter.note(
            f"resuming: skipping {len(done):,} of {readable_count(len(shards), 'shard')}, already committed"
        )
    groups = _groups(plan, done)
    if groups:
        index_groups(
            plan.engine,
            _work(plan, parts, wanted),
            groups,
            images_per_byte=_images_per_byte(plan.dataset),
            reporter=reporter,
        )
    fetch_parts(out, wanted)
    committed = list_commits(parts, fingerprint=wanted)
    refuse_lost_shards(out, committed, shards)
    totals = write_index(
        out,
        plan.layers,
        committed,
        fingerprint=content["fingerprint"],
        classes=config.classes,
        class_names=plan.network.classes if named else None,
        network_classes=plan.network.classes,
        reporter=reporter,
        engine=plan.engine if copy_of(out) is None else None,  # only this process has its parts
    )
    named_units = write_names(
        out,
        plan.layers,
        committed,
        index_fingerprint=content["fingerprint"],
        class_names=plan.network.classes if named else None,
        reporter=reporter,
    )
    if named_units is not None:
        reporter.note(str(named_units))
    remove_stale_thumbnails(out, content["fingerprint"])
    if "patches" in config.keep:
        write_thumbnails(
            out,
            plan.dataset,
            plan.network.preprocess,
            footer={"maxact.fingerprint": content["fingerprint"]},
            workers=config.workers,
            reporter=reporter,
        )
    thumbnails = out / THUMBNAILS_TABLE
    if thumbnails.exists():
        content["thumbnails"] = asdict(digest_file(thumbnails))
    return finish_run(out, content, totals, len(done), time.monotonic() - started)


def _work(plan: Plan, parts: Path, wanted: str) -> IndexWork:
    """What is done with every group of shards."""
    work = IndexWork(plan.config, plan.network, plan.layers, parts, wanted, plan.compiled)
    if not plan.engine.is_apart:
        return work
    identity = identify(plan.network.module, plan.engine.device)
    address = "" if copy_of(parts.parent) is None else address_of(parts.parent)
    return replace(
        work, identity=identity, places=plan.dataset.places, parts=parts.absolute(), address=address
    )


def _sign_again(plan: Plan, previous: dict[str, Any], reporter: Reporter) -> None:
    """Sign a complete run of another user, or of before there were signatures: its names are given again."""
    if is_own(previous):
        return
    dataset = {**previous["dataset"], "data": list(plan.dataset.data)}
    named = sign_run({**previous, "config": plan.config.as_json(), "dataset": dataset}, reporter)
    if SIGNATURE in named:
        write_run(plan.config.out, named)


def _images_per_byte(dataset: Dataset) -> float | None:
    images = dataset.estimated_images
    return None if images is None or not dataset.size else images / dataset.size


def _groups(plan: Plan, done: set[str]) -> list[list[Shard]]:
    """The shards still to index, in the groups that an uninterrupted run would commit."""
    shards = plan.dataset.shards
    groups = divide(shards, shards_per_part(plan.dataset, plan.config, plan.engine.slots))
    waiting = [[shard for shard in group if shard.name not in done] for group in groups]
    return [group for group in waiting if group]
