"""The commands that write or check an index: `index`, `merge`, `check`, `repair`, `clean`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.choices import AskedDecoder, AskedPrecision, Compile, IndexDevice, MemoryFormat, Score
from pipeline.cli.engine_options import (
    Address,
    CpusPerTask,
    GpusPerTask,
    JsonProgress,
    SpreadBy,
    reporter_of,
)
from pipeline.cli.options import (
    INDEX,
    MAX_COUNT,
    AsJson,
    At,
    Dictionary,
    Directions,
    IndexedNetwork,
    Input,
    Kind,
    LayerGlobs,
    MergedOut,
    MovedData,
    MovedWeights,
    NewOut,
    Out,
    Seed,
    Trust,
    all_directions,
    cache_folder,
    index_folder,
)
from pipeline.cli.output import print_line, write_rows
from pipeline.progress import ConsoleReporter, readable_count, readable_duration

if TYPE_CHECKING:
    from pipeline.store.run_file import RunSummary

__all__ = ["register"]


def index(
    data: Annotated[
        list[str],
        typer.Argument(
            metavar="DATA...",
            help="Folders of images, tar shards (brace patterns, URLs), Parquet files with an image "
            "column, or `demo`.",
        ),
    ],
    out: NewOut,
    network: Annotated[
        str, typer.Option(help="Network to run; `maxact networks` lists the names.")
    ] = "efficientnet_lite0",
    weights: Annotated[
        str | None,
        typer.Option(metavar="FILE|random", help="Weights of the network.", show_default="published"),
    ] = None,
    layers: LayerGlobs = None,
    input: Input = None,
    directions: Directions = None,
    dictionary: Dictionary = None,
    at: At = None,
    kind: Kind = None,
    top: Annotated[
        int, typer.Option(help="Images to keep per unit, of the highest and of the lowest activations.")
    ] = 64,
    score: Annotated[Score, typer.Option(help="Reduction of a unit's activations over positions.")] = "max",
    batch_size: Annotated[int, typer.Option(help="Images per forward pass.")] = 32,
    precision: Annotated[
        AskedPrecision,
        typer.Option(help="Number format of the network; auto is bf16 if the processor has it, else fp32."),
    ] = "fp32",
    memory_format: Annotated[
        MemoryFormat, typer.Option(help="Memory format of the network.")
    ] = "channels_last",
    compile: Annotated[
        Compile, typer.Option(help="Use torch.compile; auto turns it on for long runs.")
    ] = "auto",
    decoder: Annotated[
        AskedDecoder,
        typer.Option(
            help="JPEG decoder: pil; simplejpeg, which is faster (extra `fast`); nvjpeg, on the GPU (extra "
            "`gpu`); auto, the fastest that is installed. Other pixels, other peaks, by little."
        ),
    ] = "pil",
    device: Annotated[
        IndexDevice,
        typer.Option(
            help="Device to run on; auto is cuda if available, cuda:all is every GPU of this machine."
        ),
    ] = "auto",
    workers: Annotated[
        int | None, typer.Option(help="Decoding threads.", show_default="one per core")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(help="CPU threads of torch.", show_default="torch's choice")
    ] = None,
    classes: Annotated[
        str, typer.Option(metavar="N|all", help="Labels to keep per unit in classes.parquet.")
    ] = "20",
    class_names: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Names of the classifier's units, and of labels that are numbers: text, JSON or CSV.",
        ),
    ] = None,
    shards_per_part: Annotated[
        int | None, typer.Option(help="Shards to commit together.", show_default="a 32nd of the dataset")
    ] = None,
    shard_range: Annotated[
        str | None,
        typer.Option(
            metavar="I/N",
            help="Index only the I-th of N ranges of the shards, from 1; `maxact merge` joins the indexes.",
            show_default="all shards",
        ),
    ] = None,
    max_bad_fraction: Annotated[
        float,
        typer.Option(
            help="Stop when more than this share of a group of shards, and more than 10, are bad images."
        ),
    ] = 0.01,
    keep: Annotated[
        list[str] | None,
        typer.Option(
            metavar="patches|peaks[=float16|float32]",
            help="Also keep in the index: patches, a thumbnail of every image on a list; peaks, the peaks of "
            "all images (float16 unless said otherwise); repeatable.",
            show_default="nothing",
        ),
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Remove the index that OUT holds and start over.")
    ] = False,
    engine: SpreadBy = "local",
    address: Address = None,
    gpus_per_task: GpusPerTask = None,
    cpus_per_task: CpusPerTask = None,
    shards_per_task: Annotated[
        int | None,
        typer.Option(
            help="Shards that one Ray task indexes and commits.", show_default="four tasks a slot, 64 at most"
        ),
    ] = None,
    json_progress: JsonProgress = False,
) -> None:
    """Stream a dataset through a network and keep each unit's top images and statistics.

    Run the same command again to resume an interrupted run; committed work is not repeated.

    \b
    Examples:
      maxact index demo --out out/demo
      maxact index /data/imagenet/train --network torchvision:resnet50 --layers 'layer4*' -o out/r50
      maxact index demo --network timm:vit_base_patch16_224 --dictionary sae/ --at blocks.8 -o out/sae
      maxact index 'https://host/train-{0000..0146}.tar' --network timm:convnext_tiny -o out/cx
      maxact index /data/imagenet/train --network torchvision:resnet50 --shard-range 3/8 -o out/r50-3
      maxact index /data/imagenet/train --network torchvision:resnet50 --device cuda:all -o out/r50
      maxact index /data/imagenet/train --network torchvision:resnet50 --engine ray --address auto -o out/r50
    """
    from pipeline.config import EngineConfig, RunConfig
    from pipeline.runs.run import run_index

    config = RunConfig(
        data=data,
        out=out,
        network=network,
        weights=weights,
        input=input or (),
        directions=all_directions(directions, dictionary, at),
        kind=kind,
        layers=layers or (),
        top=top,
        score=score,
        batch_size=batch_size,
        precision=precision,
        memory_format=memory_format,
        compile=compile,
        decoder=decoder,
        device=device,
        workers=workers,
        threads=threads,
        classes=_classes(classes),
        class_names=class_names,
        shards_per_part=shards_per_part,
        shard_range=shard_range,
        max_bad_fraction=max_bad_fraction,
        keep=keep or (),
        fresh=fresh,
        cache=cache_folder(),
        engine=EngineConfig(engine, address, gpus_per_task, cpus_per_task, shards_per_task),
    )
    _summarise(run_index(config, reporter=reporter_of(as_json=json_progress)))


def merge(
    out: MergedOut,
    sources: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN...", parser=index_folder, help="Indexes of different shards of one dataset."
        ),
    ],
) -> None:
    """Merge indexes that were made on several machines; a shard in two of them counts once.

    \b
    Examples:
      maxact merge out/all out/machine-a out/machine-b
    """
    from pipeline.runs.merge import merge_runs

    _summarise(merge_runs(out, sources, reporter=ConsoleReporter()))


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
        reporter=ConsoleReporter(),
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

    report = check_files(out, reporter=ConsoleReporter())
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

    done = repair_index(out, reporter=ConsoleReporter())
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
    for command in (index, merge, check, repair, clean):
        app.command(rich_help_panel=INDEX)(command)


def _classes(text: str) -> int | None:
    from pipeline.errors import UsageError

    if text == "all":
        return None
    if not text.isdecimal():
        raise UsageError(f"--classes must be a number or `all`, got {text!r}")
    return int(text)


def _readable(name: str) -> str:
    """A file name that cannot control a terminal."""
    return name if name.isprintable() else ascii(name)


def _summarise(summary: RunSummary) -> None:
    resumed = readable_count(summary.resumed_shards, "shard")
    print_line(
        f"{summary.out}: {readable_count(summary.images, 'image')}, "
        f"{readable_count(summary.units, 'unit')} in {readable_count(summary.layers, 'layer')}, "
        f"{readable_duration(summary.seconds)}"
        f"{f', {resumed} from an earlier run' if summary.resumed_shards else ''}"
    )
    if summary.errors:
        print_line(
            f"{readable_count(summary.errors, 'image')} could not be used: "
            f"maxact sql {summary.out} 'SELECT * FROM errors'"
        )
