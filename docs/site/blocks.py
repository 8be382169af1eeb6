"""Figures and outputs that documents ask for, each beside the shell block that makes it.

A comment after a shell block, `<!-- figure NAME | caption -->`, stands for the pictures that the block's
commands draw, and `<!-- output NAME -->` for what its commands print.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["ANY", "DOCS", "ROOT", "Asked", "asked_in", "asked_in_documents", "commands_of"]

ROOT = Path(__file__).resolve().parent.parent.parent
"""Of the repository."""

DOCS = ROOT / "docs"

ANY = re.compile(
    r"^```sh\n(?P<block>(?:(?!^```).)*)^```\n\n<!-- (?P<kind>figure|output) (?P<name>[a-z0-9-]+)"
    r"(?: \| (?P<caption>[^>]*?))? -->$",
    re.MULTILINE | re.DOTALL,
)
"""A shell block, and the comment that asks for what it makes."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One figure or output.

    Args:
        name: in all documents; of its files.
        kind: `figure` or `output`.
        block: the commands, as the document has them.
        caption: under a figure, in Markdown; empty for an output.
    """

    name: str
    kind: str
    block: str
    caption: str


def commands_of(block: str) -> list[list[str]]:
    """The words after `maxact` of each of a block's commands."""
    lines = block.replace("\\\n", " ").splitlines()
    words = [shlex.split(line, comments=True) for line in lines]
    return [each[1:] for each in words if each and each[0] == "maxact"]


def asked_in(text: str) -> Iterator[Asked]:
    """What a document asks for, in order."""
    for found in ANY.finditer(text):
        caption = " ".join((found["caption"] or "").split())
        yield Asked(found["name"], found["kind"], found["block"], caption)


def asked_in_documents() -> list[Asked]:
    """What all documents ask for, by document and then in order.

    Raises:
        ValueError: if two have one name, or a comment has no shell block right before it.
    """
    found: dict[str, Asked] = {}
    for path in sorted(DOCS.rglob("*.md")):
        text = path.read_text(encoding="utf-8")
        here = [*asked_in(text)]
        if len(here) != len(re.findall(r"^<!-- (?:figure|output) ", text, re.MULTILINE)):
            raise ValueError(f"{path}: a figure or an output has no shell block right before it")
        for each in here:
            if each.name in found:
                raise ValueError(f"{path}: {each.name} is the name of another figure; choose a new one")
            found[each.name] = each
    return list(found.values())
