"""Hierarchies as files: a user's, of children and parents, and WordNet's above ImageNet's classes."""

from __future__ import annotations

import csv
import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from pipeline.errors import UsageError
from pipeline.naming.concepts import Hierarchy

__all__ = ["imagenet_class", "imagenet_hierarchy", "read_hierarchy", "wordnet_names"]

EXPECTED = "CSV or Parquet with two columns of text, child and parent"

_ID = re.compile(r"(n\d{8})(?:[_ -].*)?", re.DOTALL)
"""A label that starts with the id of an ImageNet class, as folders of it are named."""


def read_hierarchy(path: Path) -> Hierarchy:
    """Read a user's hierarchy: one row for each child and parent; a first row `child,parent` is a title.

    Args:
        path: `.parquet`, or CSV of any other ending.

    Raises:
        UsageError: when it cannot be read, is empty, or has other than two columns of text.
    """
    rows = _parquet_rows(path) if path.suffix.lower() in (".parquet", ".pq") else _csv_rows(path)
    parents: dict[str, list[str]] = {}
    for number, row in enumerate(rows, 1):
        cells = [cell.strip() for cell in row if isinstance(cell, str)]
        if len(row) != 2 or len([cell for cell in cells if cell]) != 2:
            raise UsageError(f"the hierarchy {path}: row {number} is {_shown(row)}; expected {EXPECTED}")
        child, parent = cells
        if (number, child.lower(), parent.lower()) != (1, "child", "parent"):
            known = parents.setdefault(child, [])
            if parent not in known:
                known.append(parent)
    if not parents:
        raise UsageError(f"the hierarchy {path} is empty; expected {EXPECTED}")
    return Hierarchy(
        "hierarchy", {child: tuple(found) for child, found in parents.items()}, {}, {}, str(path)
    )


def _shown(row: Sequence[object]) -> str:
    text = ascii(list(row))
    return text if len(text) <= 60 else f"{text[:57]}..."


def _csv_rows(path: Path) -> list[list[str]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
        return [row for row in csv.reader(text.splitlines(), strict=True) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise _unreadable(path, error) from error


def _parquet_rows(path: Path) -> Iterable[Sequence[object]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(path).read()
    except (OSError, pa.ArrowException) as error:
        raise _unreadable(path, error) from error
    if {"child", "parent"} <= {*table.column_names}:
        table = table.select(["child", "parent"])
    columns = [column.to_pylist() for column in table.columns]
    return list(zip(*columns, strict=True))


def _unreadable(path: Path, error: Exception) -> UsageError:
    reason = " ".join(str(getattr(error, "strerror", None) or error).split())
    return UsageError(f"the hierarchy {path} cannot be read: {reason}; expected {EXPECTED}")


@functools.cache
def _wordnet() -> tuple[Mapping[str, tuple[str, ...]], Mapping[str, str], Mapping[str, str]]:
    """Parents and names by id, and the ids of classes by their names."""
    path = Path(__file__).with_name("wordnet.csv")
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    parents = {row["id"]: tuple(row["parents"].split()) for row in rows}
    names = {row["id"]: row["name"] for row in rows}
    classes = {row["name"]: row["id"] for row in rows if row["class"] == "1"}
    folded: dict[str, list[str]] = {}
    for name, key in classes.items():
        folded.setdefault(name.lower(), []).append(key)
    # `Cardigan` is a dog, `cardigan` a garment.
    return parents, names, {**{name: keys[0] for name, keys in folded.items() if len(keys) == 1}, **classes}


def _class_of(label: str, classes: Mapping[str, str]) -> str | None:
    """The id of the class that a label names."""
    plain = " ".join(label.replace("_", " ").split())
    first = plain.partition(",")[0]
    forms = (plain, first, plain.lower(), first.lower())
    return next((classes[form] for form in forms if form in classes), None)


def imagenet_class(label: str) -> int | None:
    """The number of the ImageNet class whose id a label starts with, `n01440764` or `n01440764_tench`.

    Classes are numbered in the order of their ids, as networks have them.
    """
    match = _ID.fullmatch(label)
    return _class_numbers().get(match[1]) if match else None


@functools.cache
def _class_numbers() -> Mapping[str, int]:
    _, names, classes = _wordnet()
    ids = {*classes.values()} & names.keys()
    return {key: number for number, key in enumerate(sorted(ids))}


def imagenet_hierarchy(labels: Sequence[str]) -> Hierarchy | None:
    """WordNet's nouns above ImageNet's classes, if all labels are classes of it; else None.

    A label is a class by its id, `n01440764` or `n01440764_tench`, or by its name, of which the first
    synonym is enough.
    """
    parents, names, classes = _wordnet()
    found: dict[str, str] = {}
    for label in labels:
        match = _ID.fullmatch(label)
        key = match[1] if match else _class_of(label, classes)
        if key is None or key not in parents:
            return None
        found[label] = key
    return Hierarchy("wordnet", parents, names, found, "of WordNet") if found else None


def wordnet_names() -> tuple[str, ...]:
    """The names of WordNet's nouns over ImageNet's classes, and of these, in the order of their ids."""
    return tuple(_wordnet()[1].values())
