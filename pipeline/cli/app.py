"""The command line: flags become one call into the library, and the result is printed.

`app` has the commands that do not draw; `viz.cli` adds its own to the same app. Heavy packages are
imported inside the commands, so that `maxact --help` starts at once. Data goes to standard output,
progress and errors to standard error.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from pipeline.cli import directions as finding
from pipeline.cli import dissecting, indexing, keeping, naming, peaks
from pipeline.cli import top as listing
from pipeline.cli.failed_call import failed_call
from pipeline.cli.help_text import HelpGroup
from pipeline.cli.interrupts import STOPPED_CODE, ends_by_signals, say_stopped, was_interrupted
from pipeline.cli.options import (
    ASK,
    LOOK,
    AsCsv,
    AsJson,
    At,
    Dictionary,
    Directions,
    Input,
    Kind,
    LayerGlobs,
    Out,
    SafeCsv,
    TimeLimit,
    Trust,
    all_directions,
    cache_folder,
    index_folder,
)
from pipeline.cli.out_of_memory import out_of_memory
from pipeline.cli.output import NO_ROWS, choose_form, print_line, print_page, write_rows
from pipeline.errors import MaxactError

__all__ = ["app", "main"]


_WrongCall: type[Exception] = typer.BadParameter.__bases__[0]
"""Base class of what Typer raises for options and arguments that it cannot parse."""


class _Commands(HelpGroup):
    """Print an error, of the library or of the call, as one line, and exit with its code."""

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        """Parse the options before the command."""
        try:
            return super().make_context(*args, **kwargs)
        except _WrongCall as error:
            raise _refuse_call(error) from error

    def invoke(self, ctx: Any) -> Any:
        """Run the chosen command."""
        try:
            result = super().invoke(ctx)
            if was_interrupted():
                raise KeyboardInterrupt
            return result
        except MaxactError as error:
            if was_interrupted():  # the error is what a library made of the interruption
                say_stopped()
                raise typer.Exit(STOPPED_CODE) from error
            print_line(f"error: {error}", error=True)
            raise typer.Exit(error.exit_code) from error
        except _WrongCall as error:
            raise _refuse_call(error) from error
        except KeyboardInterrupt as error:
            say_stopped()
            raise typer.Exit(STOPPED_CODE) from error
        except SystemExit as error:
            if was_interrupted():
                say_stopped()
                raise typer.Exit(STOPPED_CODE) from error
            if isinstance(error.__context__, BrokenPipeError):  # Rich, when the reader of a help left
                raise typer.Exit(0) from error
            # Code of the user's, such as a network's forward pass, has called sys.exit.
            print_line(f"error: code that was loaded ended the program (exit code {error.code})", error=True)
            raise typer.Exit(1) from error
        except Exception as error:
            reason = out_of_memory(error) or failed_call(error)
            if not reason:
                raise
            print_line(f"error: {reason}", error=True)
            # A name too long for a file was typed so; all else is the state of the machine.
            mistyped = isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG
            raise typer.Exit(2 if mistyped else 1) from error


def _refuse_call(error: Any) -> Exception:
    """Print one line on a call that cannot be parsed; what to raise for it.

    A command without any word is not refused so: its help is printed.
    """
    if type(error).__name__ == "NoArgsIsHelpError":
        return error  # type: ignore[no-any-return]
    parameter = getattr(error, "param", None)
    if type(error) is typer.BadParameter and parameter is not None:
        name = parameter.opts[0] if parameter.opts[0].startswith("-") else parameter.metavar
        text = f"{name}: {error.message.removeprefix('Value error, ')}"
    else:
        text = error.format_message()
    text = f"{text[:1].lower()}{text[1:]}".rstrip(".")
    if error.ctx is not None:
        text += f" (see {error.ctx.command_path} --help)"
    print_line(f"error: {text}", error=True)
    return typer.Exit(2)


app = typer.Typer(
    name="maxact",
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from pipeline.version import installed_version

        print_line(f"maxact {installed_version() or '(run from a checkout, not installed)'}")
        raise typer.Exit


@app.callback()
def maxact(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    """What does each unit of an image network look for?

    Index a dataset once, query any unit's top images in SQL, render synthetic images that activate
    it, and draw both side by side.
    """


indexing.register(app)
keeping.register(app)
naming.register(app)
finding.register(app)
peaks.register(app)
dissecting.register(app)


@app.command(rich_help_panel=LOOK)
def networks(
    pattern: Annotated[
        str | None,
        typer.Argument(
            metavar="[GLOB]",
            help="List only the names that match.",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    safe_csv: SafeCsv = False,
) -> None:
    """List the known networks, their default layers and the source of their weights.

    \b
    Examples:
      maxact networks
      maxact networks 'timm:convnext*'
    """
    from pipeline.networks.network import list_networks

    columns = ("network", "default layers", "weights")
    _print(columns, list_networks(pattern), as_json=as_json, as_csv=as_csv, safe_csv=safe_csv)


@app.command(rich_help_panel=LOOK)
def layers(
    network: Annotated[
        str, typer.Argument(metavar="NETWORK", help="Name that `maxact networks` lists, or module:factory.")
    ] = "efficientnet_lite0",
    patterns: LayerGlobs = None,
    weights: Annotated[
        str, typer.Option(metavar="FILE|random", help="Weights to load; shapes do not depend on them.")
    ] = "random",
    input: Input = None,
    directions: Directions = None,
    dictionary: Dictionary = None,
    at: At = None,
    kind: Kind = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    safe_csv: SafeCsv = False,
) -> None:
    """List a network's layers: kind, units, grid, receptive field and stride, in input pixels.

    \b
    Examples:
      maxact layers efficientnet_lite0
      maxact layers torchvision:googlenet --layers 'inception4*'
    """
    from pipeline.data.dataset import default_cache
    from pipeline.layers.choose import choose_layers
    from pipeline.layers.layer import LISTED, listed
    from pipeline.networks.network import load_network

    added = all_directions(directions, dictionary, at)
    loaded = load_network(network, weights=weights, input=input or (), directions=added)
    for note in loaded.notes:
        print_line(note, error=True)
    found = choose_layers(
        loaded,
        patterns or (),
        kind=kind,
        cache=(cache_folder() or default_cache()) / "fields",
    )
    _print(LISTED, [listed(layer) for layer in found], as_json=as_json, as_csv=as_csv, safe_csv=safe_csv)


listing.register(app)


@app.command(rich_help_panel=ASK)
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
    _print(result.columns, result.rows, as_json=as_json, as_csv=as_csv, safe_csv=safe_csv)


@app.command(rich_help_panel=ASK)
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
    _print(("query", "parameters", "purpose"), rows, as_json=as_json, as_csv=as_csv, safe_csv=safe_csv)


@app.command(rich_help_panel=ASK)
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
    _print(result.columns, result.rows, as_json=as_json, as_csv=as_csv, safe_csv=safe_csv)


def _print(
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    *,
    as_json: bool,
    as_csv: bool,
    safe_csv: bool,
    empty: str = NO_ROWS,
) -> None:
    """Write rows to standard output, in the form that the flags ask for."""
    write_rows(
        sys.stdout, columns, rows, choose_form(as_json=as_json, as_csv=as_csv, safe_csv=safe_csv), empty=empty
    )


def main() -> None:
    """Run the command line; the exit code is 1 for an error, 2 for a wrong call, 130 for Ctrl-C."""
    # A path or a message may hold bytes or letters that the terminal's encoding lacks.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    # A request to end, as `kill` and schedulers send it, ends a command as Ctrl-C does.
    with ends_by_signals():
        try:
            app()
        except BrokenPipeError:
            _discard_output()
        finally:
            try:
                sys.stdout.flush()
            except BrokenPipeError:
                _discard_output()


def _discard_output() -> None:
    """Discard further output, as its reader (`| head`) has exited, without an error message."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
