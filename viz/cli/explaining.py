"""The commands that show what a unit finds in a photograph: `explain`, `project`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.options import (
    ASK,
    DRAW,
    MAX_COUNT,
    AsCsv,
    AsJson,
    Device,
    IndexedNetwork,
    LayersOfIndex,
    MovedData,
    MovedWeights,
    Out,
    SafeCsv,
    Trust,
    Units,
)
from pipeline.cli.output import choose_form, print_files, print_line, write_rows
from pipeline.cli.reporting import console_reporter

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the commands to the app."""
    app.command(rich_help_panel=ASK)(explain)
    app.command("project", rich_help_panel=DRAW)(project_command)


def explain(
    out: Out,
    photographs: Annotated[
        list[str],
        typer.Argument(metavar="PHOTO...", help="Files, URLs, or keys of images of the indexed dataset."),
    ],
    layer: LayersOfIndex = None,
    n: Annotated[int, typer.Option("-n", min=1, max=MAX_COUNT, help="Units of each layer.")] = 8,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="PHOTO",
            help="Another photograph: show the units that differ most between the two.",
            show_default=False,
        ),
    ] = None,
    between: Annotated[
        str | None,
        typer.Option(
            metavar="A,B",
            help="Two classes: show the units that pull the network to each of them.",
            show_default=False,
        ),
    ] = None,
    sheet: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Also draw a PNG: where in the photograph each unit is active, and its top patches.",
            show_default=False,
        ),
    ] = None,
    device: Device = "auto",
    network: IndexedNetwork = None,
    weights: MovedWeights = None,
    data: MovedData = None,
    trust: Trust = False,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    safe_csv: SafeCsv = False,
) -> None:
    """Show which units a photograph drives, compared with all indexed images.

    \b
    Examples:
      maxact explain out/demo cat.jpg
      maxact explain out/demo cat.jpg --layer 'blocks.[45].*' -n 4 --sheet cat.png
      maxact explain out/demo cat.jpg --against dog.jpg
      maxact explain out/demo cat.jpg --between 'tabby,lynx' --json
    """
    from pipeline.errors import UsageError
    from pipeline.explain.explainer import Explainer
    from pipeline.explain.photographs import find_photograph, read_photograph
    from pipeline.explain.rows import Explained, explain_rows
    from pipeline.query.index import open_index
    from pipeline.query.indexed_network import index_network
    from viz.sheets.explanation import draw_explanation

    form = choose_form(as_json=as_json, as_csv=as_csv, safe_csv=safe_csv)
    if sheet is not None and sheet.suffix.lower() != ".png":
        raise UsageError(f"--sheet writes a PNG; give a name that ends in .png, got {str(sheet)!r}")
    asked = Explained(
        n=n, maps=sheet is not None, against=against, classes=between, photographs=len(photographs)
    )
    reporter = console_reporter()
    with open_index(out, data=data or (), trust=trust) as index:
        index.choose(layer or ())
        for each in [*photographs, *([] if against is None else [against])]:
            find_photograph(index, each)  # before the network is loaded
        loaded = index_network(index, network=network, weights=weights)
        read = [read_photograph(index, each) for each in photographs]
        other = None if against is None else read_photograph(index, against)
        explainer = Explainer(index, loaded, layers=layer or (), device=device)
        columns, rows, notes, explained = explain_rows(explainer, read, other, asked, reporter)
        if sheet is not None:
            draw_explanation(index, explained[0], read[0].data, sheet, reporter=reporter)
    for note in notes:
        print_line(note, error=True)
    if form == "table" and len(read) == 1 and columns[0] == "photograph":
        columns, rows = columns[1:], [row[1:] for row in rows]
    write_rows(sys.stdout, columns, rows, form)
    if sheet is not None:
        print_line(str(sheet), error=True)


def project_command(
    out: Out,
    layer: LayersOfIndex = None,
    units: Units = "all",
    method: Annotated[
        str,
        typer.Option(metavar="NAME,...|all", help="Projections: activation, guided, gradient, deconvnet."),
    ] = "activation,guided",
    top: Annotated[int, typer.Option(min=1, max=MAX_COUNT, help="Images to show per unit.")] = 9,
    network: IndexedNetwork = None,
    weights: MovedWeights = None,
    data: MovedData = None,
    trust: Trust = False,
) -> None:
    """Draw which parts of a unit's top images activate it: activation map, guided, gradient, deconvnet.

    \b
    Examples:
      maxact project out/demo --layer blocks.4.2 --units 0-7
      maxact project out/demo --layer blocks.2.1 --units 3 --method all
    """
    from pipeline.query.index import open_index
    from viz.projections.page import draw_projections
    from viz.projections.project import parse_methods

    methods = parse_methods(method)
    with open_index(out, data=data or (), trust=trust) as index:
        files = draw_projections(
            index,
            layers=layer or (),
            units=units,
            methods=methods,
            images=top,
            network=network,
            weights=weights,
            reporter=console_reporter(),
        )
    print_files(files)
