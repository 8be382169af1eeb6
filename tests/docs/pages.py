"""Runs the code blocks of a page one after another, as a reader would who types all of them.

A block with a title is a file of that name. `sh` blocks are run line by line, `python` blocks in one
namespace, `text` blocks are output. A block is left out only where the line before it says so.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.fixtures.commands import done

__all__ = ["Block", "blocks_of", "run_page"]

FENCE = re.compile(
    r"^(?P<mark>\*Not run by the tests[^*]*\*\n\n)?"
    r"^```(?P<language>\w+)(?: title=\"(?P<title>[^\"]+)\")?\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Block:
    """A code block.

    Args:
        language: after its fence.
        title: name of the file that it is; empty for none.
        text: its lines.
        is_run: whether the page does not say otherwise.
    """

    language: str
    title: str
    text: str
    is_run: bool


def blocks_of(page: str) -> list[Block]:
    """The code blocks of a page, in order."""
    found = FENCE.finditer(page)
    return [Block(each["language"], each["title"] or "", each["text"], not each["mark"]) for each in found]


def run_page(page: str, stand_ins: Mapping[str, str], names: dict[str, Any]) -> None:
    """Run a page in the current folder.

    Args:
        page: its text.
        stand_ins: words of blocks, and what is used in their place so that they run in seconds.
        names: what Python blocks find, to which they add.

    Raises:
        AssertionError: when a stand-in is for words that no block has, or a command fails.
    """
    used = set()
    for block in blocks_of(page):
        text = block.text
        for words, other in stand_ins.items():
            if words in text:
                used.add(words)
                text = text.replace(words, other)
        if not block.is_run or block.language == "text":
            continue
        if block.title:
            Path(block.title).write_text(text)
        elif block.language == "python":
            exec(compile(text, "a block of the page", "exec"), names)
        else:
            assert block.language == "sh", f"a block of {block.language} without a title is not run: {text}"
            for line in _lines(text):
                _run(line)
    assert used == {*stand_ins}


def _lines(text: str) -> Iterator[str]:
    for line in text.replace("\\\n", " ").splitlines():
        if line.strip() and not line.startswith("#"):
            yield line


def _run(line: str) -> None:
    words = shlex.split(line, comments=True)
    if words[0] == "maxact":
        done(*words[1:])
    else:
        subprocess.run(["bash", "-c", line], check=True)
