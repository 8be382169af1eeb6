"""The commands that ask an index in SQL: `query`, `queries`, `sql`."""

from __future__ import annotations

from typing import Annotated

import typer

from pipeline.cli.options import (
    ASK,
    AsCsv,
    AsJson,
    Out,
    SafeCsv,
    TimeLimit,
    Trust,
    index_folder,
)
from pipeline.cli.output import print_page, print_rows

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the commands to the app."""
    app.command(rich_help_panel=ASK)(query)
    app.command(rich_help_panel=ASK)(queries)
    app.command(rich_help_panel=ASK)(sql)


def query(
    out: Out,
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Name that `maxact queries` lists, or your own .sql file.")
    ],
    values: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE...", help="Parameters of the query.", show_default=False),
    ] = None,
    timeout: TimeLimit = None,
    trust: Trust = False,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    safe_csv: SafeCsv = False,
) -> None:
    """Run a named query.

    \b
    Examples:
      maxact query out/demo layer_overview
      maxact query out/demo unit_card layer=blocks.4.2 unit=17
      maxact query out/demo label_units label=checks n=5 --csv
      maxact query out/demo wide.sql n=5
    """
    from pipeline.assignments import parse_assignments
    from pipeline.query.index import open_index
    from pipeline.query.named_queries import find_query

    given = parse_assignments(values or [], "maxact query")
    with open_index(out, timeout=timeout, trust=trust) as index:
        for parameter in find_query(name).parameters:
            if parameter.kind == "index" and parameter.name in given:
                given[parameter.name] = str(index_folder(str(given[parameter.name])))
        result = index.query(name, **given)
    print_rows(result.columns, result.rows, as_json=as_json, as_csv=as_csv, safe_csv=safe_csv)


def queries(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help="Query, or a .sql file, to show in full.", show_default=False),
    ] = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    safe_csv: SafeCsv = False,
) -> None:
    """List the named queries, or show the parameters, columns and SQL of one.

    \b
    Examples:
      maxact queries
      maxact queries unit_card
    """
    from pipeline.query.named_queries import describe_query, find_query, load_query, query_names

    if name is not None:
        print_page(describe_query(find_query(name)))
        return
    found = [load_query(each) for each in query_names()]
    rows = [(each.name, each.signature, each.purpose) for each in found]
    print_rows(("query", "parameters", "purpose"), rows, as_json=as_json, as_csv=as_csv, safe_csv=safe_csv)


def sql(
    out: Out,
    text: Annotated[str, typer.Argument(metavar="SELECT", help="Query over the views, in DuckDB's SQL.")],
    safe: Annotated[
        bool,
        typer.Option(
            "--safe",
            help="Confine the query to SELECTs that read OUT only, with limits of memory, threads and time.",
        ),
    ] = False,
    others: Annotated[
        list[str] | None,
        typer.Option(
            "--with",
            metavar="NAME=OTHER",
            help="Another index of the same images, whose views are NAME.top and so on. Can be given again.",
        ),
    ] = None,
    timeout: TimeLimit = None,
    trust: Trust = False,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    safe_csv: SafeCsv = False,
) -> None:
    """Run SQL over an index. The views are layers, images, top, patches, units, strata, classes,
    class_names, predictions, names, peaks, histograms, errors, renders and preprocess.

    The SQL can read and write any file, as it is your own; run SQL from elsewhere with --safe.

    \b
    Examples:
      maxact sql out/demo 'SELECT layer, count(*) FROM units GROUP BY layer'
      maxact sql out/demo 'SELECT * FROM patches WHERE rank = 1 LIMIT 10' --json
      maxact sql out/demo 'SELECT count(*) FROM images' --safe --timeout 5
      maxact sql out/a 'SELECT * FROM units JOIN b.units USING (layer, unit)' --with b=out/b
    """
    from pipeline.assignments import parse_assignments
    from pipeline.query.index import open_index
    from pipeline.query.safe import Limits

    indexes = parse_assignments(others or (), "--with")
    with open_index(out, limits=Limits() if safe else None, timeout=timeout, trust=trust) as index:
        for name, other in indexes.items():
            index.attach(name, index_folder(str(other)))
        result = index.sql(text)
    print_rows(result.columns, result.rows, as_json=as_json, as_csv=as_csv, safe_csv=safe_csv)
