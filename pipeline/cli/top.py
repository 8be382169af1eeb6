"""The command `top`: a unit's top images as a table, and their patches as files."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.choices import Side
from pipeline.cli.options import (
    ASK,
    MAX_COUNT,
    AsCsv,
    AsJson,
    Low,
    MovedData,
    Out,
    SafeCsv,
    TimeLimit,
    Trust,
    Where,
    WithoutLabel,
    new_folder,
)
from pipeline.cli.output import NO_ROWS, choose_form, print_line, write_rows
from pipeline.cli.reporting import console_reporter

if TYPE_CHECKING:
    from pipeline.query.index import Index, TopImage

__all__ = ["register"]


def top(
    out: Out,
    layer: Annotated[str, typer.Argument(metavar="LAYER", help="Name of the layer.")],
    unit: Annotated[str, typer.Argument(metavar="UNIT", help="Number of the unit, or its class name.")],
    n: Annotated[int, typer.Option("-n", min=1, max=MAX_COUNT, help="Images to show.")] = 16,
    low: Low = False,
    without_label: WithoutLabel = None,
    where: Where = None,
    save: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            parser=new_folder,
            help="Also write the patches there, as PNGs in the pixels of the originals.",
            show_default=False,
        ),
    ] = None,
    data: MovedData = None,
    timeout: TimeLimit = None,
    trust: Trust = False,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    safe_csv: SafeCsv = False,
) -> None:
    """Show the images that activate a unit most, and the patch of each that the unit saw.

    An index with --keep peaks shows as many as there are; the others, those on the unit's list.

    \b
    Examples:
      maxact top out/demo blocks.4.2 17
      maxact top out/demo blocks.4.2 17 --without-label checks
      maxact top out/demo blocks.4.2 17 -n 9 --save patches
      maxact top out/demo classifier tabby -n 5 --json
    """
    from pipeline.errors import UsageError
    from pipeline.query.index import open_index
    from pipeline.query.named_queries import load_query
    from pipeline.query.short_lists import explain_short_list

    form = choose_form(as_json=as_json, as_csv=as_csv, safe_csv=safe_csv)
    if data and save is None:
        raise UsageError("--data is used by --save only; add it or leave it out")
    with open_index(out, data=data or (), timeout=timeout, trust=trust) as index:
        chosen = index.unit(layer, unit).number
        side: Side = "low" if low else "high"
        images = index.top(layer, chosen, n=n, side=side, where=where, without_label=without_label)
        meant = where is not None or without_label is not None
        why = explain_short_list(index, layer, chosen, side, wanted=n, found=len(images), chosen=meant)
        _print_names(index, layer, chosen)
        if why and (images or form != "table"):
            print_line(why, error=True)
        if save is not None:
            _save(index, images, save, side)
        columns = [column.name for column in load_query("top_images").columns]
        write_rows(sys.stdout, columns, [image.row for image in images], form, empty=why or NO_ROWS)


def _print_names(index: Index, layer: str, unit: int) -> None:
    """Print the class and the names of a unit that has some."""
    named = index.unit_name(layer, unit) if index.class_names(layer) else None
    concepts = index.unit(layer, unit).names
    if named or concepts:
        words = f", named {', '.join(concepts)}" if concepts else ""
        print_line(f"{named or f'unit {unit}'} of {layer}{words}", error=True)


def _save(index: Index, images: list[TopImage], folder: Path, side: Side) -> None:
    from pipeline.query.saved_patches import save_patches

    files = save_patches(index, images, folder, side=side, reporter=console_reporter())
    print_line(f"{len(files):,} patch{'' if len(files) == 1 else 'es'} in {folder}", error=True)


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command(rich_help_panel=ASK)(top)
