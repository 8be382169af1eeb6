"""Errors, of the library and of the call, as one line with an exit code, whatever command raised them."""

from __future__ import annotations

import errno
from typing import Any

import typer

from pipeline.cli.failed_call import failed_call
from pipeline.cli.help_text import HelpGroup
from pipeline.cli.interrupts import STOPPED_CODE, say_stopped, was_interrupted
from pipeline.cli.out_of_memory import out_of_memory
from pipeline.cli.output import print_line
from pipeline.errors import MaxactError

__all__ = ["OneLineErrors"]


_WrongCall: type[Exception] = typer.BadParameter.__bases__[0]
"""Base class of what Typer raises for options and arguments that it cannot parse."""


class OneLineErrors(HelpGroup):
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
