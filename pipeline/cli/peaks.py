"""The commands that need the peaks of all images (`--keep peaks`): `nearest` and `sum`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.choices import Likeness
from pipeline.cli.options import (
    ASK,
    MAX_COUNT,
    AsCsv,
    AsJson,
    Low,
    Out,
    SafeCsv,
    TimeLimit,
    Trust,
    Where,
    WithoutLabel,
    index_folder,
)
from pipeline.cli.output import choose_form, write_rows

if TYPE_CHECKING:
    from pipeline.query.index import Index

__all__ = ["register"]


def nearest(
    out: Out,
    layer: Annotated[str, typer.Argument(metavar="LAYER", help="Name of the layer.")],
    unit: Annotated[str, typer.Argument(metavar="UNIT", help="Number of the unit, or its class name.")],
    layers: Annotated[
        list[str] | None,
        typer.Option(
            "--layer",
            metavar="NAME|GLOB",
            help="Layer of the index, such as 'blocks.*'; repeatable.",
            show_default="the unit's own; with --with, all",
        ),
    ] = None,
    other: Annotated[
        Path | None,
        typer.Option(
            "--with",
            metavar="OTHER",
            parser=index_folder,
            help="Index of the same images to search.",
            show_default="OUT",
        ),
    ] = None,
    by: Annotated[Likeness, typer.Option(help="Measure over the peaks of all images.")] = "correlation",
    n: Annotated[int, typer.Option("-n", min=1, max=MAX_COUNT, help="Units to show.")] = 10,
    timeout: TimeLimit = None,
    trust: Trust = False,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    safe_csv: SafeCsv = False,
) -> None:
    """Show the units whose peaks over all images are most similar to those of a unit.

    Needs an index made with --keep peaks. Images of two indexes are matched by their names.

    \b
    Examples:
      maxact nearest out/demo blocks.4.2 17
      maxact nearest out/demo blocks.4.2 17 --with out/other --layer 'blocks.*'
    """
    from pipeline.query.index import open_index

    form = choose_form(as_json=as_json, as_csv=as_csv, safe_csv=safe_csv)
    with ExitStack() as stack:
        index = stack.enter_context(open_index(out, timeout=timeout, trust=trust))
        searched = (
            None if other is None else stack.enter_context(open_index(other, timeout=timeout, trust=trust))
        )
        chosen = index.unit(layer, unit).number
        result = index.nearest_units(layer, chosen, layers or (), n=n, other=searched, by=by)
    write_rows(sys.stdout, result.columns, result.rows, form)


def sum_of_units(
    out: Out,
    terms: Annotated[
        list[str],
        typer.Argument(
            metavar="LAYER:UNIT=WEIGHT...", help="Units and their weights; the weight may be negative."
        ),
    ],
    n: Annotated[int, typer.Option("-n", min=1, max=MAX_COUNT, help="Images to show.")] = 16,
    low: Low = False,
    without_label: WithoutLabel = None,
    where: Where = None,
    timeout: TimeLimit = None,
    trust: Trust = False,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    safe_csv: SafeCsv = False,
) -> None:
    """Show the images with the highest weighted sum of the peaks of units.

    Needs an index made with --keep peaks.

    \b
    Examples:
      maxact sum out/demo blocks.4.2:17=1 blocks.4.2:40=-0.5
      maxact sum out/demo classifier:tabby=1 blocks.4.2:3=2 --where 'width > 500'
    """
    from pipeline.query.index import open_index

    form = choose_form(as_json=as_json, as_csv=as_csv, safe_csv=safe_csv)
    with open_index(out, timeout=timeout, trust=trust) as index:
        result = index.top_of_sum(
            _weights(index, terms),
            n=n,
            side="low" if low else "high",
            where=where,
            without_label=without_label,
        )
    write_rows(sys.stdout, result.columns, result.rows, form)


def _weights(index: Index, terms: Sequence[str]) -> dict[tuple[str, int], float]:
    """The weight of each unit; that of one given twice is the sum.

    Raises:
        UsageError: for a term that cannot be read.
    """
    from pipeline.errors import UsageError

    weights: dict[tuple[str, int], float] = {}
    for term in terms:
        place, equals, written = term.rpartition("=")
        layer, colon, unit = place.rpartition(":")
        try:
            weight = float(written)
        except ValueError:
            equals = ""
        if not (equals and colon and layer and unit):
            raise UsageError(f"a unit and its weight are written LAYER:UNIT=WEIGHT, got {term!r}")
        key = (layer, index.unit(layer, unit).number)
        weights[key] = weights.get(key, 0.0) + weight
    return weights


def register(app: typer.Typer) -> None:
    """Add the commands to the app."""
    app.command(rich_help_panel=ASK)(nearest)
    app.command("sum", rich_help_panel=ASK)(sum_of_units)
