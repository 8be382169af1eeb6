"""What the commands print: rows as a table, CSV or JSON, and lines of text.

Everything that a command prints goes through this module or the console's reporter, which write
invisible characters as escapes (`pipeline.visible`). CSV keeps values as they are, unless asked for a
form that is safe to open in a spreadsheet.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TextIO

from pipeline.errors import UsageError
from pipeline.visible import escape_for_json, visible
from pipeline.working_copies import shown

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

__all__ = [
    "NO_ROWS",
    "Form",
    "choose_form",
    "print_files",
    "print_line",
    "print_page",
    "print_rows",
    "write_rows",
]

NO_ROWS = "no rows"
"""Written instead of a table without rows."""

Form = Literal["table", "csv", "safe-csv", "json"]
"""How rows are written."""

CARD_COLUMNS = 8
"""A single row with more columns than this is written vertically, one line per column."""

PLAIN_WIDTH = 4096
"""Characters per line when the output is not a terminal, so that no line is folded."""

_BOX = ("box_left", "box_top", "box_right", "box_bottom")

_DROPPED = (("patch",), ("y", "x"), ("width", "height"), ("image_id",))
"""Columns that a table leaves out, in this order, until it is no wider than the terminal: keys and
labels would otherwise be cut to nothing."""


_FORMULA_STARTS = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""First characters that make a spreadsheet read a cell as a formula; tab and return are escaped before."""

_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def print_line(text: str, *, error: bool = False) -> None:
    """Print one line, on standard error if it is no result; invisible characters are shown as escapes."""
    print(visible(shown(text)), file=sys.stderr if error else sys.stdout, flush=True)


def print_page(text: str) -> None:
    """Print several lines; in each, invisible characters are shown as escapes."""
    sys.stdout.writelines(f"{visible(line)}\n" for line in text.split("\n"))


def print_files(files: Iterable[Path]) -> None:
    """Print the path of each file on a line, escaped only for a terminal, as programs read it too."""
    escaped = visible if sys.stdout.isatty() else str
    sys.stdout.writelines(f"{escaped(shown(str(file)))}\n" for file in files)


def choose_form(*, as_json: bool, as_csv: bool, safe_csv: bool = False) -> Form:
    """The form that the flags `--json`, `--csv` and `--safe-csv` ask for.

    Raises:
        UsageError: when several are set.
    """
    asked: dict[Form, bool] = {"json": as_json, "csv": as_csv, "safe-csv": safe_csv}
    chosen: list[Form] = [form for form, wanted in asked.items() if wanted]
    if len(chosen) > 1:
        raise UsageError(f"{' and '.join(f'--{form}' for form in chosen)} exclude each other; give only one")
    return chosen[0] if chosen else "table"


def print_rows(
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    *,
    as_json: bool,
    as_csv: bool,
    safe_csv: bool,
) -> None:
    """Write rows to standard output, in the form that the flags ask for.

    Raises:
        UsageError: when several of the flags are set.
    """
    write_rows(sys.stdout, columns, rows, choose_form(as_json=as_json, as_csv=as_csv, safe_csv=safe_csv))


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
        form: CSV has a header line and empty fields for missing values; safe CSV is CSV without
            invisible characters and without text that a spreadsheet takes for a formula; JSON is one
            array of objects; these keep every digit, a table rounds.
        empty: written instead of a table without rows.
    """
    if form == "json":
        objects = [
            {name: _json_value(value) for name, value in zip(columns, row, strict=True)} for row in rows
        ]
        encoded = (escape_for_json(json.dumps(item, ensure_ascii=False)) for item in objects)
        lines = ",\n".join(f"  {item}" for item in encoded)
        stream.write(f"[\n{lines}\n]\n" if objects else "[]\n")
    elif form in ("csv", "safe-csv"):
        cells = [columns, *rows] if form == "csv" else map(_safe_cells, [columns, *rows])
        stream.writelines(map(_csv_line, cells))
    elif rows:
        _write_table(stream, *_fold_boxes(columns, rows))
    else:
        stream.write(f"{empty}\n")


def _csv_line(cells: Sequence[Any]) -> str:
    """One record of CSV. Python's writer quotes a return only if lines end in one."""
    record = io.StringIO()
    csv.writer(record, lineterminator="\r\n").writerow(cells)
    return f"{record.getvalue()[:-2]}\n"


def _safe_cells(row: Sequence[Any]) -> list[Any]:
    """Cells that a spreadsheet shows as they are; numbers, also those in text, are left as numbers."""
    return [cell if isinstance(cell, int | float | None) else _safe_text(str(cell)) for cell in row]


def _safe_text(text: str) -> str:
    """Text with escapes for invisible characters, after an apostrophe if it could be a formula."""
    shown = visible(text)
    formula = shown.lstrip().startswith(_FORMULA_STARTS) and not _NUMBER.fullmatch(shown)
    return f"'{shown}" if formula else shown


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
        rows = [(visible(name), value) for name, value in zip(columns, rows[0], strict=True)]
    else:
        for name, right in zip(columns, numeric, strict=True):
            table.add_column(Text(visible(name)), justify="right" if right else "left")
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
    """The text of one cell: rounded, with escapes for invisible characters."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    return visible(str(value))
