"""Read the names of classes from a file: text, JSON or CSV."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.errors import UsageError

__all__ = ["read_class_names"]

EXPECTED = (
    "a text file with one name a line, a JSON list or a JSON object from number to name (or from name to "
    "number), or CSV with a number and a name a line"
)


def read_class_names(path: Path) -> tuple[str, ...]:
    """The names of classes, in the order of the classifier's units.

    Args:
        path: `.json`, `.csv`, or text. A JSON value may be a list whose last item is the name
            (Keras's `imagenet_class_index.json`); CSV may begin with a line of titles.

    Raises:
        UsageError: if the file cannot be read, or does not name every class from 0 on exactly once.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"class names {path} cannot be read: {reason}; expected {EXPECTED}") from error
    suffix = path.suffix.lower()
    if suffix == ".json":
        names = _from_json(text, path)
    elif suffix == ".csv":
        names = _from_csv(text, path)
    else:
        names = tuple(line.strip() for line in text.rstrip().splitlines())
    if not names:
        raise UsageError(f"class names {path}: no names; expected {EXPECTED}")
    empty = next((number for number, name in enumerate(names) if not name), None)
    if empty is not None:
        raise UsageError(f"class names {path}: class {empty} has an empty name; expected {EXPECTED}")
    return names


def _from_json(text: str, path: Path) -> tuple[str, ...]:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"class names {path}: not JSON: {error}; expected {EXPECTED}") from error
    if isinstance(content, list) and all(isinstance(name, str) for name in content):
        return tuple(name.strip() for name in content)
    if isinstance(content, Mapping) and content:
        if all(isinstance(number, int) and not isinstance(number, bool) for number in content.values()):
            return _in_order([(number, name) for name, number in content.items()], path)
        return _in_order([(number, _name(value)) for number, value in content.items()], path)
    raise UsageError(f"class names {path}: found {_kind(content)}; expected {EXPECTED}")


def _name(value: Any) -> Any:
    """The name in a JSON value, which may be a list that ends in it."""
    return value[-1] if isinstance(value, list) and value else value


def _kind(content: Any) -> str:
    return f"a list with {type(content[0]).__name__}" if isinstance(content, list) and content else "no names"


def _from_csv(text: str, path: Path) -> tuple[str, ...]:
    rows = [[cell.strip() for cell in row] for row in csv.reader(text.splitlines()) if any(row)]
    columns = {len(row) for row in rows}
    if columns == {1}:
        return tuple(row[0] for row in rows)
    if columns != {2}:
        raise UsageError(f"class names {path}: lines of {sorted(columns)} columns; expected {EXPECTED}")
    if not any(cell.isdecimal() for cell in rows[0]):
        rows = rows[1:]
    numbered = next((side for side in (0, 1) if all(row[side].isdecimal() for row in rows)), None)
    if numbered is None or not rows:
        raise UsageError(f"class names {path}: neither column is of numbers; expected {EXPECTED}")
    return _in_order([(row[numbered], row[1 - numbered]) for row in rows], path)


def _in_order(pairs: Sequence[tuple[Any, Any]], path: Path) -> tuple[str, ...]:
    """Names sorted by number, which must be 0, 1, 2, ..."""
    names: dict[int, str] = {}
    for number, name in pairs:
        if not str(number).isdecimal() or not isinstance(name, str):
            raise UsageError(f"class names {path}: {number!r} is {name!r}; expected {EXPECTED}")
        if int(number) in names:
            raise UsageError(f"class names {path}: two names for class {int(number)}; expected {EXPECTED}")
        names[int(number)] = name.strip()
    missing = next((number for number in range(len(names)) if number not in names), None)
    if missing is not None:
        raise UsageError(f"class names {path}: {len(names)} names, but none for class {missing} (from 0 on)")
    return tuple(names[number] for number in range(len(names)))
