"""Help texts whose paragraphs are broken where the terminal ends, not where the source code's lines do."""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup

__all__ = ["HelpGroup", "join_lines"]

AS_WRITTEN = "\b"
"""Begins a paragraph whose lines stay, such as examples (Click's mark)."""


def join_lines(text: str) -> str:
    """Make each paragraph of a help text one line; those that begin with `AS_WRITTEN` stay as they are."""
    paragraphs = text.split("\n\n")
    return "\n\n".join(
        each if each.lstrip().startswith(AS_WRITTEN) else " ".join(each.split()) for each in paragraphs
    )


class HelpGroup(TyperGroup):
    """A group of commands, with such help texts."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Find a command by its name."""
        command = super().get_command(ctx, cmd_name)
        if command is not None and command.help:
            command.help = join_lines(command.help)
        return command
