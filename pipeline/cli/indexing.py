"""The commands that write or check an index: `index`, `merge`, `check`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.cli.options import (
    INDEX,
    Directions,
    Input,
    Kind,
    LayerGlobs,
    NewOut,
    Out,
    Seed,
    cache_folder,
)
from pipeline.progress import ConsoleReporter, readable_duration

__all__ = ["register"]

Data = Annotated[
    list[str],
    typer.Argument(
        metavar="DATA...",
        help="Class folders, a folder of images, tar shards (brace patterns, URLs), Parquet files "
        "with an image column, or `demo`.",
    ),
]


def index(
    data: Data,
    out: NewOut,
    network: Annotated[
        str, typer.Option(help="A network's name; `maxact networks` lists them.")
    ] = "efficientnet_lite0",
    weights: Annotated[
        str | None, typer.Option(help="A weights file, or `random`.", show_default="published")
    ] = None,
    layers: LayerGlobs = None,
    input: Input = None,
    directions: Directions = None,
    kind: Kind = None,
    top: Annotated[int, typer.Option(help="Images kept per unit, highest and lowest.")] = 16,
    score: Annotated[str, typer.Option(help="max or mean over a layer's positions.")] = "max",
    batch_size: Annotated[int, typer.Option(help="Images per forward pass.")] = 32,
    precision: Annotated[str, typer.Option(help="fp32 or bf16.")] = "fp32",
    memory_format: Annotated[str, typer.Option(help="channels_last or contiguous.")] = "channels_last",
    compile: Annotated[
        str, typer.Option(help="torch.compile: on, off, or auto (on when the run is long).")
    ] = "auto",
    decoder: Annotated[str, typer.Option(help="pil, or simplejpeg (faster; extra `fast`).")] = "pil",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    workers: Annotated[
        int | None, typer.Option(help="Decoding threads.", show_default="one per core")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(help="torch's threads on a CPU.", show_default="torch's choice")
    ] = None,
    classes: Annotated[str, typer.Option(help="Labels kept per unit in classes.parquet, or `all`.")] = "20",
    shards_per_part: Annotated[
        int | None, typer.Option(help="Shards committed together.", show_default="a 32nd")
    ] = None,
    max_bad_fraction: Annotated[
        float,
        typer.Option(help="Share of bad images in a group of shards that stops the run (over 10)."),
    ] = 0.01,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Remove the index that OUT holds and start over.")
    ] = False,
) -> None:
    """Stream a dataset through a network and keep each unit's top images and statistics.

    An interrupted run is picked up by the same command; what is committed is never done twice.

    \b
    Examples:
      maxact index demo --out out/demo
      maxact index /data/imagenet/train --network torchvision:resnet50 --layers 'layer4*' -o out/r50
      maxact index 'https://host/train-{0000..0146}.tar' --network timm:convnext_tiny -o out/cx
    """
    from pipeline.config import RunConfig
    from pipeline.runs.run import run_index

    config = RunConfig(
        data=tuple(data),
        out=out,
        network=network,
        weights=weights,
        input=tuple(input or ()),
        directions=tuple(directions or ()),
        kind=kind,  # type: ignore[arg-type]
        layers=tuple(layers or ()),
        top=top,
        score=score,  # type: ignore[arg-type]  # RunConfig checks the words
        batch_size=batch_size,
        precision=precision,  # type: ignore[arg-type]
        memory_format=memory_format,  # type: ignore[arg-type]
        compile=compile,  # type: ignore[arg-type]
        decoder=decoder,  # type: ignore[arg-type]
        device=device,  # type: ignore[arg-type]
        workers=workers,
        threads=threads,
        classes=_classes(classes),
        shards_per_part=shards_per_part,
        max_bad_fraction=max_bad_fraction,
        fresh=fresh,
        cache=cache_folder(),
    )
    _summarise(run_index(config, reporter=ConsoleReporter()))


def merge(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The folder to write.")],
    sources: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Indexes over shards of one dataset.")
    ],
) -> None:
    """Merge indexes made on several machines; a shard that two of them hold counts once.

    \b
    Examples:
      maxact merge out/all out/machine-a out/machine-b
    """
    from pipeline.runs.merge import merge_runs

    _summarise(merge_runs(out, sources, reporter=ConsoleReporter()))


def check(
    out: Out,
    sample: Annotated[int, typer.Option(min=1, help="Recorded peaks to look at again.")] = 1000,
    seed: Seed = 0,
) -> None:
    """Run recorded images through the network again and compare; non-zero exit on a difference.

    \b
    Examples:
      maxact check out/demo
      maxact check out/demo --sample 20000 --seed 7
    """
    from pipeline.check.rerun import MAX_SHOWN, check_index

    audit = check_index(out, sample=sample, seed=seed, reporter=ConsoleReporter())
    for discrepancy in audit.discrepancies[:MAX_SHOWN]:
        typer.echo(str(discrepancy))
    typer.echo(
        f"{audit.images:,} images looked at again: {audit.peaks:,} recorded peaks and "
        f"{audit.absences:,} absences compared, {len(audit.discrepancies):,} disagree; "
        f"largest relative difference {audit.worst:.1e}"
    )
    if audit.discrepancies:
        raise typer.Exit(1)


def register(app: typer.Typer) -> None:
    """Add the commands to the app."""
    for command in (index, merge, check):
        app.command(rich_help_panel=INDEX)(command)


def _classes(text: str) -> int | None:
    from pipeline.errors import UsageError

    if text == "all":
        return None
    if not text.isdecimal():
        raise UsageError(f"--classes must be a number or `all`, got {text!r}")
    return int(text)


def _summarise(summary: Any) -> None:
    resumed = f", {summary.resumed_shards} shards from before" if summary.resumed_shards else ""
    typer.echo(
        f"{summary.out}: {summary.images:,} images, {summary.units:,} units in "
        f"{summary.layers} layers, {readable_duration(summary.seconds)}{resumed}"
    )
    if summary.errors:
        typer.echo(
            f"{summary.errors:,} image{'s' if summary.errors > 1 else ''} could not be used: "
            f"maxact sql {summary.out} 'SELECT * FROM errors'"
        )
