"""The commands that name units and find units by their names."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.options import ASK, INDEX, MAX_COUNT, AsCsv, AsJson, Out, SafeCsv, TimeLimit, Trust
from pipeline.cli.output import choose_form, print_line, write_rows

__all__ = ["register"]


def name(
    out: Out,
    hierarchy: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="What is above the labels: CSV or Parquet of child and parent.",
            show_default="WordNet's nouns, if the labels are classes of ImageNet",
        ),
    ] = None,
    trust: Trust = False,
) -> None:
    """Name the units of an index by its labels, and by sets of labels below a node of a hierarchy.

    Names are chosen on one half of the images and judged on the other. `maxact index` does this by itself;
    use this command for a hierarchy of your own.

    \b
    Examples:
      maxact name out/demo
      maxact name out/demo --hierarchy kinds.csv
    """
    from pipeline.progress import ConsoleReporter
    from pipeline.runs.names import name_index

    done = name_index(out, hierarchy=hierarchy, trust=trust, reporter=ConsoleReporter())
    print_line(f"{done.out}: {done}")


def find(
    out: Out,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="Words that the name must contain.")],
    n: Annotated[int, typer.Option("-n", min=1, max=MAX_COUNT, help="Units to show.")] = 20,
    timeout: TimeLimit = None,
    trust: Trust = False,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    safe_csv: SafeCsv = False,
) -> None:
    """Find units by their names, those that hold best on images not used to choose them first.

    \b
    Examples:
      maxact find out/demo checks
      maxact find out/cx 'big cat' -n 5 --json
    """
    from pipeline.query.index import open_index

    with open_index(out, timeout=timeout, trust=trust) as index:
        result = index.query("named_units", text=text, n=n)
        if not result.rows:
            rows = index.sql("SELECT DISTINCT concept FROM names ORDER BY concept").rows
            _refuse(out, text, [concept for (concept,) in rows])
    form = choose_form(as_json=as_json, as_csv=as_csv, safe_csv=safe_csv)
    write_rows(sys.stdout, result.columns, result.rows, form)


def _refuse(out: Path, text: str, concepts: Sequence[str]) -> None:
    """Say that no unit was found, and what is called nearly so."""
    from pipeline.errors import UsageError, did_you_mean

    if not concepts:
        raise UsageError(f"no unit of {out} has a name; `maxact name` gives names where images have labels")
    hint = did_you_mean(text, concepts) or f"; {len(concepts):,} concepts are names of units"
    raise UsageError(f"no unit of {out} is named {text!r}{hint}")


def register(app: typer.Typer) -> None:
    """Add the commands to the app."""
    app.command(rich_help_panel=INDEX)(name)
    app.command(rich_help_panel=ASK)(find)
