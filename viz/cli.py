"""The drawing commands, added to the one app of `pipeline.cli`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from pipeline.cli import Out, app
from pipeline.cli import main as main

__all__ = ["DRAW", "app", "main"]

DRAW = "Draw"
"""Help panel of the commands that make pictures."""


@app.command(rich_help_panel=DRAW)
def sheets(
    out: Out,
    layer: Annotated[str, typer.Option(help="A layer of the index.")],
    units: Annotated[str, typer.Option(help="As 0-23,40, class names, or all.")] = "all",
    recipe: Annotated[
        str | None, typer.Option(help="Of the renderings.", show_default="the one with most units")
    ] = None,
    page_units: Annotated[int, typer.Option(min=1, help="Units on a page.")] = 24,
    pdf: Annotated[bool, typer.Option("--pdf", help="Also one PDF of all pages.")] = False,
) -> None:
    """Draw contact sheets: each unit's synthetic image beside the real patches that drive it.

    \b
    Examples:
      maxact sheets out/demo --layer blocks.4.2 --units 0-23
      maxact sheets out/demo --layer blocks.4.2 --recipe fourier --page-units 12 --pdf
    """
    from pipeline.progress import ConsoleReporter
    from pipeline.query import open_index
    from viz.pages import draw_sheets

    with open_index(out) as index:
        chosen = index.units(layer, units)
        files = draw_sheets(
            index,
            layer,
            chosen,
            recipe=recipe,
            page_units=page_units,
            pdf=pdf,
            reporter=ConsoleReporter(),
        )
    sys.stdout.writelines(f"{file}\n" for file in files)
