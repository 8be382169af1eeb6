"""Concepts of single images as files: rows of key and concept, or a column of truth for each concept."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import UsageError

__all__ = ["ConceptsFile", "read_concepts"]

EXPECTED = "CSV or Parquet with the columns key and concept, or key and columns of true and false"

KEY, CONCEPT = "key", "concept"

_TRUTH = {"1": True, "true": True, "0": False, "false": False}

_SHOWN = 60
"""Letters of a value that a message repeats."""


@dataclass(frozen=True, slots=True)
class ConceptsFile:
    """What a file says of images.

    Args:
        concepts: names, sorted.
        keys: of the images that have some, by concept in that order; each once.
        images: keys of all images that the file tells of; None if it tells of all images of a dataset:
            those that it does not name have no concept.
        where: file that messages name.
    """

    concepts: tuple[str, ...]
    keys: tuple[tuple[str, ...], ...]
    images: tuple[str, ...] | None
    where: str


def read_concepts(path: Path) -> ConceptsFile:
    """Read a user's concepts.

    Args:
        path: `.parquet`, or CSV of any other ending, with a line of names of columns.

    Raises:
        UsageError: when it cannot be read, is empty, or has other columns or values.
    """
    names, columns = _parquet(path) if path.suffix.lower() in (".parquet", ".pq") else _csv(path)
    where = f"the concepts {path}"
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UsageError(f"{where} have several columns called {twice[0]!a}; expected {EXPECTED}")
    if KEY not in names or len(names) < 2:
        raise UsageError(f"{where} have the columns {_shown(names)}; expected {EXPECTED}")
    table = dict(zip(names, columns, strict=True))
    keys = table.pop(KEY)
    if not keys:
        raise UsageError(f"{where} are empty; expected {EXPECTED}")
    _refuse_empty(keys, KEY, where)
    if list(table) == [CONCEPT] and not _is_truth(table[CONCEPT]):
        _refuse_empty(table[CONCEPT], CONCEPT, where)
        return _pairs(keys, table[CONCEPT], str(path))
    return _truths(keys, table, str(path), where)


def _pairs(keys: Sequence[str], concepts: Sequence[str], path: str) -> ConceptsFile:
    found: dict[str, dict[str, None]] = {}
    for key, concept in zip(keys, concepts, strict=True):
        found.setdefault(concept.strip(), {})[key] = None
    names = tuple(sorted(found))
    return ConceptsFile(names, tuple(tuple(found[name]) for name in names), None, path)


def _truths(keys: Sequence[str], columns: Mapping[str, Sequence[Any]], path: str, where: str) -> ConceptsFile:
    if len(set(keys)) < len(keys):
        seen: set[str] = set()
        twice = next(key for key in keys if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise UsageError(
            f"{where} have several rows with the key {twice!a}; a table of columns has one an image"
        )
    found = {}
    for name, values in columns.items():
        if not name.strip():
            raise UsageError(f"{where} have a column without a name; expected {EXPECTED}")
        truth = [_truth(value) for value in values]
        if None in truth:
            row = truth.index(None)
            raise UsageError(
                f"{where}: row {row + 1} of column {name!a} is {_shown(values[row])}; expected true, "
                "false, 1 or 0"
            )
        found[name.strip()] = tuple(key for key, value in zip(keys, truth, strict=True) if value)
    names = tuple(sorted(found))
    return ConceptsFile(names, tuple(found[name] for name in names), tuple(keys), path)


def _truth(value: Any) -> bool | None:
    if isinstance(value, bool):
        return value
    return _TRUTH.get(str(value).strip().lower()) if isinstance(value, str | int) else None


def _is_truth(values: Sequence[Any]) -> bool:
    """Whether a column called `concept` is itself one of true and false."""
    return all(isinstance(value, bool) for value in values)


def _refuse_empty(values: Sequence[Any], column: str, where: str) -> None:
    for row, value in enumerate(values, start=1):
        if not isinstance(value, str) or not value.strip():
            raise UsageError(f"{where}: row {row} has the {column} {_shown(value)}; expected text")


def _csv(path: Path) -> tuple[list[str], list[list[Any]]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
        if "\0" in text:
            raise csv.Error("it is binary")
        rows = [row for row in csv.reader(text.splitlines(), strict=True) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise _unreadable(path, error) from error
    if not rows:
        raise UsageError(f"the concepts {path} are empty; expected {EXPECTED}")
    names = [name.strip() for name in rows[0]]
    for number, row in enumerate(rows[1:], start=1):
        if len(row) != len(names):
            raise UsageError(
                f"the concepts {path}: row {number} has {len(row)} cells, the first line {len(names)}"
            )
    return names, [[row[column] for row in rows[1:]] for column in range(len(names))]


def _parquet(path: Path) -> tuple[list[str], list[list[Any]]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(path).read()
        return list(table.column_names), [column.to_pylist() for column in table.columns]
    except (OSError, UnicodeDecodeError, pa.ArrowException) as error:
        raise _unreadable(path, error) from error


def _shown(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."


def _unreadable(path: Path, error: Exception) -> UsageError:
    reason = " ".join(str(getattr(error, "strerror", None) or error).split())
    return UsageError(f"the concepts {path} cannot be read: {reason}; expected {EXPECTED}")
