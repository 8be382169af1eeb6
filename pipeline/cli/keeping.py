"""The commands that keep an index in order: `merge`, `check`, `repair`, `clean`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.engine_options import Address, CpusPerTask, JsonProgress, SpreadBy
from pipeline.cli.options import (
    INDEX,
    MAX_COUNT,
    AsJson,
    IndexedNetwork,
    MergedOut,
    MovedData,
    MovedWeights,
    Out,
    Seed,
    Trust,
    cache_folder,
    index_folder,
)
from pipeline.cli.output import print_line, write_rows
from pipeline.cli.reporting import console_reporter
from pipeline.cli.run_summary import print_summary
from pipeline.progress import readable_count

__all__ = ["register"]


def merge(
    out: MergedOut,
    sources: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN...", parser=index_folder, help="Indexes of different shards of one dataset."
        ),
    ],
    engine: SpreadBy = "local",
    address: Address = None,
    cpus_per_task: CpusPerTask = None,
    json_progress: JsonProgress = False,
) -> None:
    """Merge indexes that were made on several machines; a shard in two of them counts once.

    With --engine ray blocks of 4,096 units are merged as tasks of a cluster whose nodes see OUT.

    \b
    Examples:
      maxact merge out/all out/machine-a out/machine-b
      maxact merge out/all out/range-* --engine ray --address auto
    """
    from pipeline.config import EngineConfig
    from pipeline.runs.merge import merge_runs

    gpus = 0.0 if engine == "ray" else None
    spread = EngineConfig(engine, address, gpus_per_task=gpus, cpus_per_task=cpus_per_task)
    reporter = console_reporter(as_json=json_progress)
    print_summary(merge_runs(out, sources, reporter=reporter, engine=spread))


def check(
    out: Out,
    sample: Annotated[
        int,
        typer.Option(
            min=0, max=MAX_COUNT, help="Images to run again; 0 compares only the tables and the parts."
        ),
    ] = 128,
    every: Annotated[
        bool,
        typer.Option("--all", help="Run all images again, and read all shards of the dataset, local or not."),
    ] = False,
    seed: Seed = 0,
    data: MovedData = None,
    files: Annotated[
        bool,
        typer.Option("--files", help="Only verify every file by its digest, without network and dataset."),
    ] = False,
    as_json: AsJson = False,
    network: IndexedNetwork = None,
    weights: MovedWeights = None,
    trust: Trust = False,
) -> None:
    """Compare an index with its parts, its dataset and its network; exits with 1 on a difference.

    \b
    Examples:
      maxact check out/demo
      maxact check out/demo --sample 1000 --seed 7
      maxact check out/demo --sample 0      # needs neither dataset nor network
      maxact check out/demo --all
      maxact check out/demo --files
    """
    if files:
        _check_files(out)
        return
    from pipeline.check.audit import MAX_SHOWN, check_index
    from pipeline.check.report import describe

    audit = check_index(
        out,
        sample=None if every else sample,
        seed=seed,
        network=network,
        weights=weights,
        data=data or (),
        trust=trust,
        cache=cache_folder(),
        reporter=console_reporter(),
    )
    if as_json:
        fields = ("layer", "unit", "image_id", "what")
        rows = [[getattr(found, name) for name in fields] for found in audit.discrepancies]
        write_rows(sys.stdout, fields, rows, "json")
    else:
        for discrepancy in audit.discrepancies[:MAX_SHOWN]:
            print_line(str(discrepancy))
    for line in describe(audit):
        print_line(line, error=as_json)
    if audit.found:
        raise typer.Exit(1)


def clean(out: Out) -> None:
    """Remove renderings, sheets, projections and priors that were made from another index.

    They are left when OUT is indexed again; they are not shown until they are removed or rendered again.
    Files that maxact did not write stay.

    \b
    Examples:
      maxact clean out/demo
    """
    from pipeline.runs.out_folder import clean_index

    print_line(f"{out}: {readable_count(clean_index(out), 'file')} of other indexes removed")


def _check_files(out: Path) -> None:
    """Print what is wrong with the files of an index, and what else is in its folder."""
    from pipeline.check.files import check_files

    report = check_files(out, reporter=console_reporter())
    for name, what in report.damaged.items():
        print_line(f"{out}/{_readable(name)} {what}")
    for name in report.foreign:
        print_line(f"{out}/{_readable(name)} is not part of the index", error=True)
    without = ""
    if report.unrecorded:
        without = f", {len(report.unrecorded):,} without a digest, such as {_readable(report.unrecorded[0])}"
    verified = readable_count(report.verified, "file")
    print_line(f"{verified} verified, {len(report.damaged):,} damaged or missing{without}")
    if report.damaged:
        raise typer.Exit(1)


def repair(out: Out) -> None:
    """Rebuild damaged or missing tables from the parts of an index, without network and dataset.

    An index that has no digests of its tables gets them.

    \b
    Examples:
      maxact repair out/demo
    """
    from pipeline.runs.repair import repair_index

    done = repair_index(out, reporter=console_reporter())
    for name, what in done.rebuilt.items():
        print_line(f"{out / name}.parquet {what}: rebuilt")
    if done.rebuilt:
        same = {True: " with the recorded bytes", False: " with other bytes than recorded", None: ""}
        summary = f"{readable_count(len(done.rebuilt), 'table')} rebuilt{same[done.identical]}"
    else:
        summary = "all tables are intact"
    print_line(f"{out}: {summary}{'; digests recorded' if done.recorded else ''}")


def register(app: typer.Typer) -> None:
    """Add the commands to the app."""
    for command in (merge, check, repair, clean):
        app.command(rich_help_panel=INDEX)(command)


def _readable(name: str) -> str:
    """A file name that cannot control a terminal."""
    return name if name.isprintable() else ascii(name)
