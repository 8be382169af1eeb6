"""The reference from the code: `--help` of every command, and the docstrings of the public names."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any

import typer
from typer.testing import CliRunner

import maxact
from pipeline.query.index import Index
from pipeline.query.unit import Unit
from viz.cli.app import app

__all__ = ["command_line_page", "python_page"]


def command_line_page() -> str:
    """A page with the help of every command."""
    parts = [
        "# Help of every command",
        "What `maxact COMMAND --help` prints. [The command line](command-line.md) explains the options.",
    ]
    for words in _commands():
        shown = CliRunner().invoke(
            app,
            [*words, "--help"],
            prog_name="maxact",
            env={"COLUMNS": "100", "TERM": "dumb", "NO_COLOR": "1"},
        )
        text = "\n".join(line.rstrip() for line in shown.stdout.strip("\n").splitlines())
        parts.append(f"## maxact {' '.join(words)}\n\n```text\n{text}\n```")
    return "\n\n".join(parts) + "\n"


def python_page() -> str:
    """A page with every public name, what they give, signatures and docstrings."""
    parts = [
        "# Python",
        "The names that `import maxact` offers, each with its signature and docstring. [The notebook]"
        "(notebook.ipynb) shows them at work.",
    ]
    opened = {kind.__name__: kind for kind in (Index, Unit)}
    for name in sorted({*maxact.__all__, *opened}, key=str.lower):
        value = opened.get(name) or getattr(maxact, name)
        if not callable(value):
            continue
        parts.append(_entry(f"## {name}", name, value))
        if inspect.isclass(value):
            parts += [_entry(f"### {name}.{method}", method, each) for method, each in _methods(value)]
    return "\n\n".join(parts) + "\n"


def _commands() -> Iterator[list[str]]:
    def walk(group: Any, words: list[str]) -> Iterator[list[str]]:
        for name, command in sorted(group.commands.items()):
            if hasattr(command, "commands"):
                yield from walk(command, [*words, name])
            elif not command.hidden:
                yield [*words, name]

    yield from walk(typer.main.get_command(app), [])


def _methods(kind: type) -> Iterator[tuple[str, Any]]:
    for name, value in inspect.getmembers(kind):
        function = value if inspect.isfunction(value) else None
        if function and not name.startswith("_") and function.__doc__:
            yield name, function


def _entry(heading: str, name: str, value: Any) -> str:
    try:
        signature = f"{name}{inspect.signature(value)}"
    except (TypeError, ValueError):
        signature = name
    signature = re.sub(r"\b(?:pipeline|viz|pathlib|collections\.abc)(?:\.\w+)*\.(?=\w)", "", signature)
    documented = inspect.getdoc(value) or ""
    return f"{heading}\n\n```python\n{signature}\n```\n\n```text\n{documented}\n```"
