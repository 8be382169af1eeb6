"""Named queries: the files of `queries/`, their headers, and the values of their parameters.

A file is one SELECT under a header of comments:

    -- What it answers, in a line or two.
    --
    -- Parameters
    --   $layer: layer             of which layer
    --   $n: count = 20            how many rows
    -- Columns
    --   unit                      the unit

A parameter is `$name: kind`, with `= default` where it may be left out (`= any`: no restriction).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, get_args

import pipeline
from pipeline.errors import QueryError, UsageError, did_you_mean

__all__ = [
    "Column",
    "Kind",
    "NamedQuery",
    "Parameter",
    "Value",
    "describe_query",
    "load_query",
    "parse_assignments",
    "parse_query",
    "query_folder",
    "query_names",
]

Kind = Literal["layer", "unit", "side", "label", "text", "count", "number", "share", "index"]
"""What a parameter may hold: `count` is an integer from 1, `share` a number from 0 to 1, `index`
the folder of a second index, whose views the query finds in the schema of the parameter's name."""

Value = str | int | float | None
"""What a parameter is bound to; None is `any`."""

ANY = "any"
"""Written for a parameter that should not restrict anything."""

_PARAMETER = re.compile(r"\$(\w+): (\w+)(?: = (\S+))?\s{2,}(\S.*)")
_COLUMN = re.compile(r"(\w+)\s{2,}(\S.*)")


@dataclass(frozen=True, slots=True)
class Parameter:
    """One `$name` of a query; `default` is None where it must be given."""

    name: str
    kind: Kind
    default: str | None
    about: str

    @property
    def optional(self) -> bool:
        """Whether it may be left out."""
        return self.default is not None


@dataclass(frozen=True, slots=True)
class Column:
    """One output column."""

    name: str
    about: str


@dataclass(frozen=True, slots=True)
class NamedQuery:
    """One file of `queries/`."""

    name: str
    purpose: str
    parameters: tuple[Parameter, ...]
    columns: tuple[Column, ...]
    sql: str

    @property
    def signature(self) -> str:
        """Its parameters as they are written on the command line, optional ones in brackets."""
        return " ".join(
            f"[{each.name}={each.default}]" if each.optional else f"{each.name}={each.kind.upper()}"
            for each in self.parameters
        )

    def values(self, given: Mapping[str, object]) -> dict[str, Value]:
        """Check and convert what was given; fill in the defaults.

        Raises:
            UsageError: for an unknown parameter, a missing one, a value of the wrong kind.
        """
        known = {parameter.name: parameter for parameter in self.parameters}
        for name in given:
            if name not in known:
                hint = did_you_mean(name, known) or f"; it takes {_listed(known)}"
                raise UsageError(f"query {self.name} has no parameter {name!r}{hint}")
        missing = [p.name for p in self.parameters if not p.optional and p.name not in given]
        if missing:
            needs = " ".join(f"{name}=..." for name in missing)
            raise UsageError(
                f"query {self.name} needs {_listed(missing)}; add {needs}, "
                f"or see `maxact queries {self.name}`"
            )
        return {
            name: _convert(self.name, parameter, given.get(name, parameter.default))
            for name, parameter in known.items()
        }


def query_folder() -> Path:
    """Where the .sql files lie: beside the package's modules when installed, else in the checkout.

    Raises:
        QueryError: when the installation is incomplete.
    """
    package = Path(pipeline.__file__).resolve().parent
    for folder in (package / "queries", package.parent / "queries"):
        if any(folder.glob("*.sql")):
            return folder
    raise QueryError(f"no .sql files beside {package}; the installation is incomplete, install again")


def query_names() -> tuple[str, ...]:
    """The names of all queries, sorted."""
    return tuple(sorted(path.stem for path in query_folder().glob("*.sql")))


@cache
def load_query(name: str) -> NamedQuery:
    """One named query.

    Raises:
        QueryError: when there is none of that name; the nearest are suggested.
    """
    names = query_names()
    if name not in names:
        hint = did_you_mean(name, names) or f"; there are {', '.join(names)}"
        raise QueryError(f"no query is called {name!r}{hint}")
    return parse_query(name, (query_folder() / f"{name}.sql").read_text(encoding="utf-8"))


def parse_query(name: str, text: str) -> NamedQuery:
    """Read one query file.

    Raises:
        QueryError: when its header does not have the form above.
    """
    lines = text.strip().splitlines()
    cut = next((i for i, line in enumerate(lines) if not line.startswith("--")), len(lines))
    sections: dict[str, list[str]] = {"": [], "Parameters": [], "Columns": []}
    current = ""
    for line in (line.removeprefix("--").strip() for line in lines[:cut]):
        if line in sections:
            current = line or current
        else:
            sections[current].append(line)
    if not sections[""] or not sections["Columns"] or cut == len(lines):
        raise QueryError(f"{name}.sql needs a purpose, a list of columns and a SELECT")
    return NamedQuery(
        name,
        " ".join(sections[""]),
        tuple(_read_parameter(name, line) for line in sections["Parameters"]),
        tuple(_read_column(name, line) for line in sections["Columns"]),
        "\n".join(lines[cut:]).strip().removesuffix(";"),
    )


def describe_query(query: NamedQuery) -> str:
    """A query in full: call, purpose, parameters, columns and SQL."""
    parameters = [(f"{p.name}={p.default or p.kind.upper()}", p.about) for p in query.parameters]
    columns = [(column.name, column.about) for column in query.columns]
    width = max(len(word) for word, _ in parameters + columns)
    blocks = [f"maxact query OUT {query.name} {query.signature}".rstrip(), query.purpose]
    for title, pairs in (("Parameters", parameters), ("Columns", columns)):
        if pairs:
            lines = (f"  {word:<{width}}  {about}" for word, about in pairs)
            blocks.append("\n".join((title, *lines)))
    return "\n\n".join((*blocks, query.sql))


def _read_parameter(query: str, line: str) -> Parameter:
    match = _PARAMETER.fullmatch(line)
    kind = match[2] if match else ""
    for known in get_args(Kind):
        if match and kind == known:
            return Parameter(match[1], known, match[3], match[4])
    raise QueryError(f"{query}.sql: expected `$name: kind = default  about`, got {line!r}")


def _read_column(query: str, line: str) -> Column:
    match = _COLUMN.fullmatch(line)
    if match is None:
        raise QueryError(f"{query}.sql: expected `column  about`, got {line!r}")
    return Column(match[1], match[2])


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"


def _convert(query: str, parameter: Parameter, given: object) -> Value:
    """One value as its kind wants it."""
    text = str(given).strip()
    if text == ANY and parameter.default == ANY:
        return None
    read, wanted = _KINDS[parameter.kind]
    try:
        return read(text)
    except ValueError:
        extra = f", or {ANY}" if parameter.default == ANY else ""
        raise UsageError(f"query {query}: {parameter.name} should be {wanted}{extra}, got {text!r}") from None


def _count(text: str) -> int:
    return _at_least(1, text)


def _at_least(lowest: int, text: str) -> int:
    number = int(text)
    if number < lowest:
        raise ValueError(text)
    return number


def _number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


def _share(text: str) -> float:
    number = _number(text)
    if not 0 <= number <= 1:
        raise ValueError(text)
    return number


def _text(text: str) -> str:
    if not text:
        raise ValueError(text)
    return text


def _side(text: str) -> str:
    if text not in ("high", "low"):
        raise ValueError(text)
    return text


_KINDS: Mapping[str, tuple[Callable[[str], Value], str]] = {
    "layer": (_text, "the name of a layer"),
    "unit": (lambda text: _at_least(0, text), "the number of a unit"),
    "side": (_side, "high or low"),
    "label": (_text, "a label of the dataset"),
    "text": (_text, "a word"),
    "count": (_count, "an integer of at least 1"),
    "number": (_number, "a number"),
    "share": (_share, "a number from 0 to 1"),
    "index": (_text, "the folder of an index"),
}


def parse_assignments(words: Sequence[str]) -> dict[str, str]:
    """Read `key=value` words of a command line.

    Raises:
        UsageError: for a word without `=`, or a key given twice.
    """
    values: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise UsageError(f"parameters are written key=value, got {word!r}")
        if name in values:
            raise UsageError(f"parameter {name!r} is given twice: {values[name]} and {value}")
        values[name] = value
    return values
