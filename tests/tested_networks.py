"""The table of networks in docs/networks.md, made from the tests that index and render them.

    python -m tests.tested_networks

rewrites it. The tests' files are read, not imported, so that no extra has to be installed.
"""

from __future__ import annotations

import ast
from pathlib import Path

from tests.fixtures.huggingface import SIDE

__all__ = ["COMMAND", "DOCUMENT", "network_table", "with_table"]

COMMAND = "python -m tests.tested_networks"
"""What rewrites the document."""

DOCUMENT = Path(__file__).resolve().parent.parent / "docs/networks.md"

_BEGIN, _END = "<!-- tested -->\n", "\n<!-- /tested -->"


def network_table() -> str:
    """The table: a network a line, with the layers whose kind and grid its test expects.

    Returns:
        A Markdown table without a line break at its end.
    """
    rows = ["| network | input | layers |", "|---|---|---|"]
    for line in _families("test_families.py"):
        name, size, *layers = line.split()
        rows.append(_row(name, int(size), layers))
    for line in _families("test_huggingface.py"):
        name, part, *layers = line.split()
        shown = f"hf: {name}" if part == "." else f"hf: {name}, {part}"
        rows.append(_row(shown, SIDE, layers))
    return "\n".join(rows)


def with_table(text: str) -> str:
    """The document with today's table between its markers.

    Args:
        text: The document as it is.

    Returns:
        The document as it should be.
    """
    before, begin, rest = text.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise ValueError(f"{DOCUMENT.name} has no lines {_BEGIN.strip()} and {_END.strip()}: write them")
    return before + begin + "\n" + network_table() + "\n" + end + after


def _families(file: str) -> list[str]:
    """The lines of FAMILIES in a file of tests."""
    tree = ast.parse((Path(__file__).parent / file).read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "FAMILIES":
            return [line for line in str(ast.literal_eval(node.value)).split("\n") if line]
    raise ValueError(f"{file} has no FAMILIES")


def _row(name: str, size: int, layers: list[str]) -> str:
    shown = []
    for layer in layers:
        module, _, rest = layer.partition(":")
        kind, _, grid = rest.partition(":")
        shown.append(f"`{module}`" + (f" {kind} {grid.replace('x', ' x ')}" if kind else ""))
    return f"| {name} | {size} x {size} | {', '.join(shown)} |"


if __name__ == "__main__":
    DOCUMENT.write_text(with_table(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
