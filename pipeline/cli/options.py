"""Arguments and options that several commands share, each written once, and the help's panels.

An alias is the type of a command's parameter; the default stands at the command.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from pipeline import choices

__all__ = [
    "ASK",
    "DRAW",
    "INDEX",
    "LOOK",
    "AsCsv",
    "AsJson",
    "Device",
    "Directions",
    "IndexedNetwork",
    "Input",
    "Kind",
    "LayerGlobs",
    "LayersOfIndex",
    "MovedWeights",
    "NewOut",
    "Out",
    "Seed",
    "TimeLimit",
    "Trust",
    "Units",
    "cache_folder",
]

LOOK = "See what there is"
"""Help panel of the commands that list networks, layers and recipes."""

INDEX = "Index a dataset"
"""Help panel of the commands that write or check an index."""

ASK = "Query an index"
"""Help panel of the commands that read an index."""

DRAW = "Draw"
"""Help panel of the commands that make pictures."""

Out = Annotated[Path, typer.Argument(metavar="OUT", help="Folder of an index.")]
NewOut = Annotated[Path, typer.Option("--out", "-o", help="Folder to write the index into.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON: one array of objects.")]
AsCsv = Annotated[bool, typer.Option("--csv", help="Print CSV with a header line.")]

LayerGlobs = Annotated[
    list[str] | None,
    typer.Option(
        "--layers",
        metavar="NAME|GLOB",
        help="Layers to probe, such as 'blocks.*'; a glob with ** matches every module; repeatable.",
        show_default="block outputs and classifier",
    ),
]
Input = Annotated[
    list[str] | None,
    typer.Option(
        metavar="KEY=VALUE",
        help="Change the preprocessing: size=160, mean=0,0,0, channels=bgr and the like; repeatable.",
        show_default=False,
    ),
]
Directions = Annotated[
    list[str] | None,
    typer.Option(
        metavar="[LAYER=]FILE",
        help="safetensors file whose rows become units of an extra layer; repeatable.",
        show_default=False,
    ),
]
Kind = Annotated[
    choices.Kind | None,
    typer.Option(
        help="Kind of the chosen layers: which axes of their output are units.",
        show_default="found by a trial pass",
    ),
]

LayersOfIndex = Annotated[
    list[str] | None,
    typer.Option(
        "--layer",
        metavar="NAME|GLOB",
        help="Layer of the index, such as 'blocks.*'; repeatable.",
        show_default="all",
    ),
]
Units = Annotated[str, typer.Option(help="Units: numbers and ranges such as 0-23,40, class names, or all.")]
MovedWeights = Annotated[
    Path | None,
    typer.Option(help="Weights file of the indexed network, if it has moved.", show_default=False),
]
IndexedNetwork = Annotated[
    str | None,
    typer.Option(
        "--network",
        metavar="NAME",
        help="Network that was indexed, if the index is not trusted or its code has moved.",
        show_default="the one that OUT names",
    ),
]
Trust = Annotated[
    bool,
    typer.Option(
        "--trust",
        help="Load what OUT names, although another user made it: code of its network, files, addresses.",
    ),
]
TimeLimit = Annotated[
    float | None,
    typer.Option("--timeout", metavar="SECONDS", help="Stop the query after this time.", show_default="none"),
]
Device = Annotated[choices.Device, typer.Option(help="Device to run on; auto is cuda if available.")]
Seed = Annotated[int, typer.Option(help="Random seed.")]


def cache_folder() -> Path | None:
    """The folder of demo data, downloads and receptive fields, from MAXACT_CACHE; None is the default."""
    folder = os.environ.get("MAXACT_CACHE")
    return Path(folder) if folder else None
