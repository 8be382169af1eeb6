"""The command `index`."""

from __future__ import annotations

from typing import Annotated

import typer

from pipeline.choices import AskedDecoder, AskedPrecision, Compile, IndexDevice, MemoryFormat, Score
from pipeline.cli.engine_options import (
    Address,
    CpusPerTask,
    GpusPerTask,
    JsonProgress,
    SpreadBy,
)
from pipeline.cli.options import (
    INDEX,
    At,
    Dictionary,
    Directions,
    Input,
    Kind,
    LayerGlobs,
    NewOut,
    all_directions,
    cache_folder,
)
from pipeline.cli.reporting import console_reporter
from pipeline.cli.run_summary import print_summary

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
            "`gpu`); auto, the fastest that is installed. Their pixels, and so the peaks, differ slightly."
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
    print_summary(run_index(config, reporter=console_reporter(as_json=json_progress)))


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command(rich_help_panel=INDEX)(index)


def _classes(text: str) -> int | None:
    from pipeline.errors import UsageError

    if text == "all":
        return None
    if not text.isdecimal():
        raise UsageError(f"--classes must be a number or `all`, got {text!r}")
    return int(text)
