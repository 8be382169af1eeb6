"""The command that compares the activation maps of units with segmentation masks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.options import (
    INDEX,
    Device,
    IndexedNetwork,
    LayersOfIndex,
    MovedData,
    MovedWeights,
    Out,
    Trust,
)
from pipeline.cli.output import print_line
from pipeline.cli.reporting import console_reporter

__all__ = ["register"]


def dissect(
    out: Out,
    masks: Annotated[
        str,
        typer.Option(
            metavar="FOLDER|COLUMN",
            help="PNG files called like the images: of numbers, with names.csv, or one folder a concept; "
            "or a column of Parquet files.",
        ),
    ],
    mask_names: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Names of the numbers in masks: number,name in each line.",
            show_default="FOLDER/names.csv",
        ),
    ] = None,
    layer: LayersOfIndex = None,
    quantile: Annotated[
        float, typer.Option(help="Share of positions up to which a unit counts as not active.")
    ] = 0.995,
    network: IndexedNetwork = None,
    weights: MovedWeights = None,
    data: MovedData = None,
    device: Device = "auto",
    trust: Trust = False,
) -> None:
    """Name units by the masks that best match where the units are active (network dissection).

    Runs all images through the network again, twice. Concepts are chosen on one half of the images and judged
    on the other.

    \b
    Examples:
      maxact dissect out/ade --masks ade/annotations
      maxact dissect out/ade --masks ade/annotations --layer 'layer4*' --quantile 0.99
    """
    from pipeline.runs.dissect import dissect_index

    done = dissect_index(
        out,
        masks,
        mask_names=mask_names,
        layers=layer or (),
        quantile=quantile,
        network=network,
        weights=weights,
        data=data or (),
        device=device,
        trust=trust,
        reporter=console_reporter(),
    )
    print_line(f"{done.out}: {done}")


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command(rich_help_panel=INDEX)(dissect)
