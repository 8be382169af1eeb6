"""Options of the commands that may run on a cluster, and those of their progress."""

from __future__ import annotations

from typing import Annotated

import typer

from pipeline.choices import EngineName

__all__ = [
    "Address",
    "CpusPerTask",
    "GpusPerTask",
    "JsonProgress",
    "SpreadBy",
]

SpreadBy = Annotated[
    EngineName,
    typer.Option("--engine", help="What spreads the work: this machine, or a Ray cluster (extra `ray`)."),
]
Address = Annotated[
    str | None,
    typer.Option(
        metavar="auto|ray://HOST:PORT|HOST:PORT",
        help="Ray cluster to use; auto is the one that this machine is part of.",
        show_default="RAY_ADDRESS, or a new one on this machine",
    ),
]
GpusPerTask = Annotated[
    float | None,
    typer.Option(
        help="GPUs of a Ray task; 0.5 lets two tasks share one.", show_default="1 where there are any, else 0"
    ),
]
CpusPerTask = Annotated[
    int | None,
    typer.Option(help="Cores of a Ray task.", show_default="a GPU's share of its node's, else 1"),
]
JsonProgress = Annotated[
    bool,
    typer.Option(
        "--json-progress", help="Write progress and notes for programs: one JSON object a line, on stderr."
    ),
]
