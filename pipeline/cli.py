"""The command line: flags become one call into the library, and what comes back is printed.

`app` holds the commands that need no drawing; `viz.cli` adds its own to the same app. Heavy
packages are imported inside the commands, so that `maxact --help` starts at once. Data goes to
standard output, progress and errors to standard error.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from pipeline.errors import MaxactError

__all__ = ["LOOK", "AsCsv", "AsJson", "Out", "app", "main"]

LOOK = "Look around"
"""Help panel of the commands that show what there is to choose from."""

INDEX = "Index a dataset"
"""Help panel of the commands that write or check an index."""

ASK = "Ask an index"
"""Help panel of the commands that read an index."""

Out = Annotated[Path, typer.Argument(metavar="OUT", help="The folder of an index.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, one array of objects.")]
AsCsv = Annotated[bool, typer.Option("--csv", help="Print CSV with a header line.")]


class _Commands(TyperGroup):
    """Turns the library's errors into one line and an exit code, for every command alike."""

    def invoke(self, ctx: Any) -> Any:
        """Run the chosen command."""
        try:
            return super().invoke(ctx)
        except MaxactError as error:
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(error.exit_code) from error
        except KeyboardInterrupt as error:
            typer.echo(
                "\nstopped: what was finished is kept; run the same command to go on from there",
                err=True,
            )
            raise typer.Exit(130) from error


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
        from importlib.metadata import PackageNotFoundError, version

        try:
            typer.echo(f"maxact {version('maxact')}")
        except PackageNotFoundError:
            typer.echo("maxact (run from a checkout, not installed)")
        raise typer.Exit


@app.callback()
def maxact(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """What does each unit of an image network look for?

    Index a dataset once, ask for any unit's top images in SQL, render synthetic images of what
    drives it, and draw both side by side.
    """


def main() -> None:
    """Run the command line; the exit code is 1 for an error, 2 for a wrong call, 130 for Ctrl-C."""
    try:
        app()
    except BrokenPipeError:
        _leave_quietly()
    finally:
        try:
            sys.stdout.flush()
        except BrokenPipeError:
            _leave_quietly()


def _leave_quietly() -> None:
    """The reader of our output has gone (`| head`): close it without a word."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
