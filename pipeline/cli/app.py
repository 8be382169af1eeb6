"""The command line: flags become one call into the library, and the result is printed.

`app` has the commands that do not draw; `viz.cli` adds its own to the same app. Heavy packages are
imported inside the commands, so that `maxact --help` starts at once. Data goes to standard output,
progress and errors to standard error.
"""

from __future__ import annotations

import io
import os
import sys
from typing import Annotated

import typer

from pipeline.cli import asking, dissecting, indexing, keeping, looking, naming, peaks
from pipeline.cli import directions as finding
from pipeline.cli import top as listing
from pipeline.cli.interrupts import ends_by_signals
from pipeline.cli.one_line import OneLineErrors
from pipeline.cli.output import print_line

__all__ = ["app", "main"]


app = typer.Typer(
    name="maxact",
    cls=OneLineErrors,
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
looking.register(app)
listing.register(app)
asking.register(app)


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
