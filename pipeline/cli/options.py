"""Arguments and options that several commands share, each written once, and the help's panels.

An alias is the type of a command's parameter; the default stands at the command.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

import typer

__all__ = [
    "ASK",
    "DRAW",
    "INDEX",
    "LOOK",
    "AsCsv",
    "AsJson",
    "Device",
    "Directions",
    "Input",
    "Kind",
    "LayerGlobs",
    "LayersOfIndex",
    "MovedWeights",
    "NewOut",
    "Out",
    "Seed",
    "Units",
    "cache_folder",
]

LOOK = "Look around"
"""Help panel of the commands that show what there is to choose from."""

INDEX = "Index a dataset"
"""Help panel of the commands that write or check an index."""

ASK = "Ask an index"
"""Help panel of the commands that read an index."""

DRAW = "Draw"
"""Help panel of the commands that make pictures."""

Out = Annotated[Path, typer.Argument(metavar="OUT", help="The folder of an index.")]
NewOut = Annotated[Path, typer.Option("--out", "-o", help="The folder to write the index into.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, one array of objects.")]
AsCsv = Annotated[bool, typer.Option("--csv", help="Print CSV with a header line.")]

LayerGlobs = Annotated[
    list[str] | None,
    typer.Option(
        "--layers",
        metavar="GLOB",
        help="Layers of these names; `**` looks at every module; may be repeated.",
        show_default="block outputs and classifier",
    ),
]
Input = Annotated[
    list[str] | None,
    typer.Option(
        metavar="KEY=VALUE",
        help="Another preprocessing: size=160, mean=.., channels=bgr ..; may be repeated.",
        show_default=False,
    ),
]
Directions = Annotated[
    list[str] | None,
    typer.Option(
        metavar="[LAYER=]FILE",
        help="A safetensors file whose rows become units of an extra layer.",
        show_default=False,
    ),
]
Kind = Annotated[
    str | None,
    typer.Option(help="map, map_last, tokens or vector.", show_default="found by a trial pass"),
]

LayersOfIndex = Annotated[
    list[str] | None,
    typer.Option("--layer", help="A layer of the index, or a glob; may be repeated.", show_default="all"),
]
Units = Annotated[str, typer.Option(help="As 0-23,40, class names, or all.")]
MovedWeights = Annotated[
    Path | None,
    typer.Option(help="The network's weights file, where it has moved.", show_default=False),
]
Device = Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="Where it runs.")]
Seed = Annotated[int, typer.Option(help="Of all that is drawn at random.")]


def cache_folder() -> Path | None:
    """The folder of demo data, downloads and receptive fields, from MAXACT_CACHE; None is the default."""
    folder = os.environ.get("MAXACT_CACHE")
    return Path(folder) if folder else None
