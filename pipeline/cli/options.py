"""Arguments and options that several commands share, each written once, and the help's panels.

An alias is the type of a command's parameter; the default stands at the command.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from pipeline import choices
from pipeline.errors import UsageError

__all__ = [
    "ASK",
    "DRAW",
    "INDEX",
    "LOOK",
    "MAX_COUNT",
    "MAX_SEED",
    "AsCsv",
    "AsJson",
    "At",
    "Device",
    "Dictionary",
    "Directions",
    "IndexedNetwork",
    "Input",
    "Kind",
    "LayerGlobs",
    "LayersOfIndex",
    "Low",
    "MergedOut",
    "MovedData",
    "MovedWeights",
    "NewOut",
    "Out",
    "SafeCsv",
    "Seed",
    "TimeLimit",
    "Trust",
    "Units",
    "Where",
    "WithoutLabel",
    "all_directions",
    "cache_folder",
    "index_folder",
    "new_folder",
]


def new_folder(text: str) -> Path:
    """The folder that a text names, which may not exist yet."""
    if not str(text).strip():
        raise typer.BadParameter("the name of the folder is empty; write . for the current folder")
    return Path(text)


def index_folder(text: str) -> Path:
    """The folder of an index; for an address, such as `s3://bucket/run`, that of its working copy.

    Raises:
        UsageError: for an address where no index can be.
    """
    text = str(text)
    if ":" not in text:
        return Path(text)
    from pipeline.remote.local import local_folder

    return local_folder(text, cache=cache_folder())


def new_index(text: str) -> Path:
    """As `index_folder`, for an index that may not exist yet."""
    return new_folder(text) if ":" not in str(text) else index_folder(text)


MAX_COUNT = 1 << 31
"""Largest number of steps, images and the like: more than any run has, and within int64."""

MAX_SEED = (1 << 63) - 1
"""Largest seed: tables keep it as int64."""

LOOK = "See what there is"
"""Help panel of the commands that list networks, layers and recipes."""

INDEX = "Index a dataset"
"""Help panel of the commands that write or check an index."""

ASK = "Query an index"
"""Help panel of the commands that read an index."""

DRAW = "Draw"
"""Help panel of the commands that make pictures."""

Out = Annotated[
    Path,
    typer.Argument(metavar="OUT", parser=index_folder, help="Folder of an index, or its address (s3://...)."),
]
NewOut = Annotated[
    Path,
    typer.Option(
        "--out",
        "-o",
        metavar="PATH",
        parser=new_index,
        help="Folder to write the index into, or its address (s3://bucket/run).",
    ),
]
MergedOut = Annotated[
    Path, typer.Argument(metavar="OUT", parser=new_index, help="Folder to write the merged index into.")
]
MovedData = Annotated[
    list[str] | None,
    typer.Option(
        metavar="PATH",
        help="Folder, file or pattern of the indexed dataset, if it has moved; repeatable, in the order "
        "in which they were indexed.",
        show_default=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON: one array of objects.")]
AsCsv = Annotated[
    bool,
    typer.Option("--csv", help="Print CSV with a header line, every value as it is; see --safe-csv."),
]
SafeCsv = Annotated[
    bool,
    typer.Option(
        "--safe-csv",
        help="Print CSV for a spreadsheet: text that starts like a formula (=, +, -, @) gets an "
        "apostrophe, control characters are escaped.",
    ),
]

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
Dictionary = Annotated[
    str | None,
    typer.Option(
        metavar="FILE|FOLDER",
        help="Sparse autoencoder whose features become units of an extra layer; needs --at.",
        show_default=False,
    ),
]
At = Annotated[
    str | None,
    typer.Option(metavar="LAYER", help="Layer that the dictionary encodes.", show_default=False),
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
Low = Annotated[bool, typer.Option("--low", help="Show the lowest activations.")]
WithoutLabel = Annotated[
    str | None,
    typer.Option(metavar="LABEL", help="Only images that do not have this label.", show_default=False),
]
Where = Annotated[
    str | None,
    typer.Option(
        metavar="SQL",
        help="Only images for which this holds, over the columns of images: 'width > 500'.",
        show_default=False,
    ),
]
Device = Annotated[choices.Device, typer.Option(help="Device to run on; auto is cuda if available.")]
Seed = Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Random seed.")]


def all_directions(given: list[str] | None, dictionary: str | None, at: str | None) -> list[str]:
    """The values of --directions, and --dictionary and --at in the same form, LAYER=FILE.

    Raises:
        UsageError: when one of the two is missing.
    """
    if (dictionary is None) != (at is None):
        missing, there = ("--at LAYER", "--dictionary") if at is None else ("--dictionary FILE", "--at")
        raise UsageError(f"{there} needs {missing}")
    return [*(given or []), *([] if dictionary is None else [f"{at}={dictionary}"])]


def cache_folder() -> Path | None:
    """The folder of demo data, downloads and receptive fields, from MAXACT_CACHE; None is the default."""
    folder = os.environ.get("MAXACT_CACHE")
    return Path(folder) if folder else None
