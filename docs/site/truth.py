"""What `bench/README.md` says of how well a recipe's pictures explain units, for its page in the gallery.

A comment `<!-- truth RECIPE -->` stands for the table of one recipe, `<!-- truth -->` for that of all.
The figures are read from the tables of the section "Every recipe", and are nowhere else.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from docs.site.blocks import ROOT

__all__ = ["MARK", "Truth", "read_truth", "truth_table"]

MARK = re.compile(r"^<!-- truth(?: (?P<recipe>[a-z0-9-]+))? -->$", re.MULTILINE)
"""The comment in a page."""

PATCH = "real 1"
"""The row of one real patch, which recipes are compared with."""

NOT_MEASURED = "Not measured."

Cells = Mapping[str, str]
"""Title of a column to its cell."""


@dataclass(frozen=True, slots=True)
class Truth:
    """The tables of all recipes: the name in the first column, without a star, to the other cells.

    Args:
        own, common: share of right answers in the two centrings.
        activation: of the renderings, relative to the dataset's best.
        fewer: rows with a star, of fewer units than that of real patches, with which they cannot be compared.
    """

    own: Mapping[str, Cells]
    common: Mapping[str, Cells]
    activation: Mapping[str, Cells]
    fewer: frozenset[str]

    @property
    def recipes(self) -> tuple[str, ...]:
        """The rows that are not real patches."""
        return tuple(name for name in self.own if not name.startswith("real "))


def read_truth(text: str | None = None) -> Truth:
    """Read the tables.

    Args:
        text: of the benchmarks' page; None reads it.

    Raises:
        ValueError: if the section or one of its three tables is missing.
    """
    if text is None:
        text = (ROOT / "bench/README.md").read_text(encoding="utf-8")
    _, heading, rest = text.partition("\n### Every recipe\n")
    section = re.split(r"^#{2,3} ", rest, maxsplit=1, flags=re.MULTILINE)[0]
    tables = [_rows(table) for table in re.findall(r"(?:^\|.*\n)+", section, re.MULTILINE)]
    if not heading or len(tables) != 3 or any(PATCH not in table for table in tables[:2]):
        raise ValueError('bench/README.md: expected "### Every recipe" with three tables')
    fewer = re.findall(r"^\| ([\w-]+) \* \|", section, re.MULTILINE)
    return Truth(*tables, frozenset(fewer))


def truth_table(truth: Truth, recipe: str | None) -> str:
    """The Markdown of one recipe, or of all."""
    if recipe is None:
        return _of_all(truth)
    if recipe not in truth.own:
        return NOT_MEASURED
    layers = [title for title in truth.own[PATCH] if title.startswith("`")]
    rows = [["", *layers, "all", "all, less one real patch"]]
    for words, table in (("own centring", truth.own), ("common centring", truth.common)):
        for name in (recipe,) if recipe in truth.fewer else (recipe, PATCH):
            cells = table[name]
            said = words if name == recipe else f"one real patch, {words}"
            rows.append([said, *(cells[each] for each in (*layers, "all", f"all - `{PATCH}`"))])
    strong = truth.activation.get(recipe, {})
    rows.append(
        ["activation, renderings `ok` or `retried`", *(strong.get(each, "-") for each in layers), "", ""]
    )
    return _table(rows)


def _of_all(truth: Truth) -> str:
    less = f"all - `{PATCH}`"
    rows = [["", "pictures", "own centring", "less one real patch", "common centring", "less one real patch"]]
    for name in (PATCH, *truth.recipes):
        said = "one real patch" if name == PATCH else f"`{name}`{' *' * (name in truth.fewer)}"
        own, common = truth.own[name], truth.common[name]
        rows.append([said, own["pictures"], own["all"], own[less], common["all"], common[less]])
    return _table(rows)


def _rows(table: str) -> dict[str, Cells]:
    """The rows of a Markdown table, by their first cell."""
    lines = [[cell.strip() for cell in line.strip("|\n").split("|")] for line in table.splitlines()]
    titles = lines[0][1:]
    return {row[0].rstrip(" *"): dict(zip(titles, row[1:], strict=True)) for row in lines[2:]}


def _table(rows: list[list[str]]) -> str:
    head, *body = (f"| {' | '.join(row)} |" for row in rows)
    return "\n".join((head, "|" + "---|" * len(rows[0]), *body))
