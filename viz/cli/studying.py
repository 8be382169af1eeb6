"""The command that asks people: `study`."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.options import (
    DRAW,
    MAX_COUNT,
    IndexedNetwork,
    LayersOfIndex,
    MovedData,
    MovedWeights,
    Out,
    Seed,
    Trust,
    Units,
    index_folder,
    new_folder,
)
from pipeline.cli.output import print_files, print_line
from pipeline.cli.reporting import console_reporter
from pipeline.progress import readable_count

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command(rich_help_panel=DRAW)(study)


def study(
    out: Out,
    folder: Annotated[
        Path,
        typer.Option(
            "--out", metavar="FOLDER", parser=new_folder, help="Folder to write the page of the study into."
        ),
    ],
    layer: LayersOfIndex = None,
    units: Units = "all",
    recipe: Annotated[
        str, typer.Option(metavar="NAME|FILE", help="Recipe of the renderings to show.")
    ] = "typical",
    reference: Annotated[
        str,
        typer.Option(
            metavar="WORD,...",
            help="What is shown of a unit: synthetic, real (nine top patches), real1, real4, none.",
        ),
    ] = "synthetic,real",
    trials: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=MAX_COUNT,
            help="Trials of a participant, without practice and catch trials.",
            show_default="every unit in every condition",
        ),
    ] = None,
    queries: Annotated[
        Path | None,
        typer.Option(
            metavar="OTHER",
            parser=index_folder,
            help="Index of other photographs with the same network, to ask about.",
            show_default="OUT, after the references",
        ),
    ] = None,
    seed: Seed = 0,
    network: IndexedNetwork = None,
    weights: MovedWeights = None,
    data: MovedData = None,
    trust: Trust = False,
) -> None:
    """Write a page that asks people which of two photographs drives a unit more.

    The page opens from disk, sends nothing anywhere, and saves the answers as a JSON file.

    \b
    Examples:
      maxact study out/demo --layer blocks.4.2 --units 0-23 --out study
      maxact study out/demo --layer blocks.4.2 --units 0-23 --reference synthetic,real1,none --out study
    """
    from pipeline.query.index import open_index
    from viz.recipes.catalog import get_recipe
    from viz.study.build import build_study

    chosen = get_recipe(recipe)
    with contextlib.ExitStack() as stack:
        index = stack.enter_context(open_index(out, data=data or (), trust=trust))
        summary = build_study(
            index,
            folder,
            chosen,
            layers=layer or (),
            units=units,
            references=[word.strip() for word in reference.split(",") if word.strip()],
            trials=trials,
            seed=seed,
            asking=stack.enter_context(open_index(queries, trust=trust)) if queries else None,
            network=network,
            weights=weights,
            reporter=console_reporter(),
        )
    print_line(
        f"{readable_count(summary.units, 'unit')}, {readable_count(summary.trials, 'trial')} and "
        f"{readable_count(summary.catches, 'catch trial')} a participant, {summary.size / 1e6:,.1f} MB",
        error=True,
    )
    print_files([summary.page])
