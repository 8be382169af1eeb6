"""The commands that name units and find units by their names."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.options import ASK, INDEX, MAX_COUNT, AsCsv, AsJson, Out, SafeCsv, TimeLimit, Trust
from pipeline.cli.output import choose_form, print_line, write_rows

if TYPE_CHECKING:
    from pipeline.query.index import Index

__all__ = ["register"]

MAX_SHOWN = 60
"""Letters of a text that a message repeats."""


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
    words: Annotated[str, typer.Argument(metavar="TEXT", help="Words that the name must contain.")],
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
    from pipeline.errors import UsageError
    from pipeline.query.index import open_index

    if not any(letter.isalnum() for letter in words):
        raise UsageError(f"TEXT must have a word, got {words!r}")
    with open_index(out, timeout=timeout, trust=trust) as index:
        result = index.query("named_units", text=words, n=n)
        why = "" if result.rows else _why_nothing(index, words)
    form = choose_form(as_json=as_json, as_csv=as_csv, safe_csv=safe_csv)
    if why and form != "table":
        print_line(why, error=True)
    write_rows(sys.stdout, result.columns, result.rows, form, empty=why)


def _why_nothing(index: Index, words: str) -> str:
    """Why no unit was found, and what is called nearly so."""
    from pipeline.errors import did_you_mean

    rows = index.sql("SELECT DISTINCT concept FROM names ORDER BY concept").rows
    if not rows:
        return "no unit has a name; `maxact name` gives names where images have labels"
    shown = words if len(words) <= MAX_SHOWN else f"{words[:MAX_SHOWN]}..."
    hint = did_you_mean(words, [concept for (concept,) in rows]) or f"; {len(rows):,} concepts are names"
    return f"no unit is named {shown!r}{hint}"


def register(app: typer.Typer) -> None:
    """Add the commands to the app."""
    app.command(rich_help_panel=INDEX)(name)
    app.command(rich_help_panel=ASK)(find)
