"""docs/security.md has a row for every command, and says of --safe what is so."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import typer

from pipeline.query.safe import Limits
from pipeline.store.trust import key_path
from viz.cli import app

TEXT = (Path(__file__).resolve().parents[3] / "docs" / "security.md").read_text(encoding="utf-8")


def commands() -> dict[str, Any]:
    group: Any = typer.main.get_command(app)
    found: dict[str, Any] = {}
    for name, command in group.commands.items():
        inner = getattr(command, "commands", None)
        found |= {f"{name} {each}": inner[each] for each in inner} if inner else {name: command}
    return found


def rows() -> dict[str, list[str]]:
    table = TEXT.partition("## What each command reads, writes and contacts")[2].partition("\n## ")[0]
    cells = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in table.splitlines()
        if line.startswith("| `")
    ]
    return {row[0].strip("`"): row[1:] for row in cells}


@pytest.mark.parametrize("name", sorted(commands()))
def test_every_command_says_what_it_reads_writes_runs_and_contacts(name: str) -> None:
    row = rows()[name]
    assert len(row) == 4
    assert all(row)


def test_no_row_is_for_a_command_that_is_gone() -> None:
    assert set(rows()) == set(commands())


@pytest.mark.parametrize("name", sorted(commands()))
def test_a_command_that_opens_an_index_takes_trust(name: str) -> None:
    options = {option.opts[0] for option in commands()[name].params}
    assert ("--trust" in options) == rows()[name][0].startswith("OUT")


def test_the_limits_and_the_key_are_those_of_the_code() -> None:
    limits = Limits()
    assert (limits.memory_mb, limits.threads, limits.seconds, limits.rows) == (1024, 2, 30.0, 1_000_000)
    said = re.sub(r"\s+", " ", TEXT)
    assert "at most 1 GB, two threads and 30 seconds, returns at most a million rows" in said
    assert f"~/{key_path().relative_to(Path.home())}" in said
