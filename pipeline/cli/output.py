"""Rows as text: a table to read, CSV or JSON for programs."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, TextIO

from pipeline.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

__all__ = ["NO_ROWS", "Form", "choose_form", "write_rows"]

NO_ROWS = "no rows"
"""Written instead of a table without rows."""

Form = Literal["table", "csv", "json"]
"""How rows are written."""

CARD_COLUMNS = 8
"""A single row with more columns than this is written vertically, one line per column."""

PLAIN_WIDTH = 4096
"""Characters per line when the output is not a terminal, so that no line is folded."""

_BOX = ("box_left", "box_top", "box_right", "box_bottom")

_DROPPED = (("patch",), ("y", "x"), ("width", "height"), ("image_id",))
"""Columns that a table leaves out, in this order, until it is no wider than the terminal: keys and
labels would otherwise be cut to nothing."""


def choose_form(*, as_json: bool, as_csv: bool) -> Form:
    """The form that the flags `--json` and `--csv` ask for.

    Raises:
        UsageError: when both are set.
    """
    if as_json and as_csv:
        raise UsageError("--json and --csv exclude each other; give only one")
    return "json" if as_json else "csv" if as_csv else "table"


def write_rows(
    stream: TextIO,
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    form: Form,
    *,
    empty: str = NO_ROWS,
) -> None:
    """Write rows to a text stream.

    Args:
        stream: where to write.
        columns: names of the columns.
        rows: one sequence per row, as long as `columns`.
        form: CSV has a header line and empty fields for missing values; JSON is one array of
            objects; both keep every digit, a table rounds.
        empty: written instead of a table without rows.
    """
    if form == "json":
        objects = [
            {name: _json_value(value) for name, value in zip(columns, row, strict=True)} for row in rows
        ]
        lines = ",\n".join(f"  {json.dumps(item, ensure_ascii=False)}" for item in objects)
        stream.write(f"[\n{lines}\n]\n" if objects else "[]\n")
    elif form == "csv":
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)
    elif rows:
        _write_table(stream, *_fold_boxes(columns, rows))
    else:
        stream.write(f"{empty}\n")


def _json_value(value: Any) -> Any:
    """A value that JSON can hold: null for infinity and NaN, text for dates and bytes."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {str(key): _json_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json_value(item) for item in value]
    return value if isinstance(value, str | int | float | None) else str(value)


def _write_table(stream: TextIO, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Write a table, on a terminal without the columns that do not fit."""
    from rich.console import Console

    if stream.isatty():
        console = Console(file=stream)
        table, hidden = _fit_table(console, columns, rows)
        console.print(table)
        if hidden:
            stream.write(f"not shown at a width of {console.width}: {', '.join(hidden)} (--csv has all)\n")
        return
    console = Console(file=io.StringIO(), width=PLAIN_WIDTH)
    with console.capture() as capture:
        console.print(_build_table(columns, rows))
    stream.writelines(f"{line.rstrip()}\n" for line in capture.get().strip("\n").splitlines())


def _fit_table(
    console: Console, columns: Sequence[str], rows: Sequence[Sequence[Any]]
) -> tuple[Table, list[str]]:
    """A table without those of `_DROPPED` for which the console is too narrow, and their names."""
    from rich.measure import Measurement

    unlimited = console.options.update(max_width=PLAIN_WIDTH)
    hidden: list[str] = []
    table = _build_table(columns, rows)
    groups = [[name for name in group if name in columns] for group in _DROPPED]
    for group in filter(None, [] if _is_card(columns, rows) else groups):
        if Measurement.get(console, unlimited, table).maximum <= console.width:
            break
        hidden += group
        kept = [i for i, name in enumerate(columns) if name not in hidden]
        table = _build_table([columns[i] for i in kept], [[row[i] for i in kept] for row in rows])
    return table, hidden


def _is_card(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> bool:
    return len(rows) == 1 and len(columns) > CARD_COLUMNS


def _build_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    numeric = [all(isinstance(row[i], int | float | None) for row in rows) for i in range(len(columns))]
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_header=True)
    if _is_card(columns, rows):
        table.show_header = False
        table.add_column(style="bold")
        table.add_column()
        rows = [(name, value) for name, value in zip(columns, rows[0], strict=True)]
    else:
        for name, right in zip(columns, numeric, strict=True):
            table.add_column(Text(name), justify="right" if right else "left")
    for row in rows:
        table.add_row(*(Text(_readable(value)) for value in row))
    return table


def _fold_boxes(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> tuple[list[str], list[list[Any]]]:
    """The four edges of a patch as one column, `left,top-right,bottom`, in whole pixels."""
    if not set(_BOX) <= set(columns):
        return list(columns), [list(row) for row in rows]
    edges = [columns.index(name) for name in _BOX]
    kept = [i for i in range(len(columns)) if i not in edges or i == edges[0]]
    folded: list[list[Any]] = []
    for row in rows:
        left, top, right, bottom = (row[i] for i in edges)
        box = f"{math.floor(left)},{math.floor(top)}-{math.ceil(right)},{math.ceil(bottom)}"
        folded.append([box if i == edges[0] else row[i] for i in kept])
    return ["patch" if i == edges[0] else columns[i] for i in kept], folded


def _readable(value: Any) -> str:
    """The text of one cell: rounded, and without control characters."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in str(value))
