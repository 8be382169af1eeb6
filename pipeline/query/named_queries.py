"""Named queries: the files of `queries/` and of users, their headers, and the values of their parameters.

A file is one SELECT under a header of comments:

    -- What it answers, in a line or two.
    --
    -- Parameters
    --   $layer: text              the layer's name
    --   $side: high|low = high    high for the highest peaks, low for the lowest
    --   $n: integer 1.. = 20      how many rows
    -- Columns
    --   unit                      the unit's number

A parameter is `$name: kind`, with `= default` where it may be left out (`= any`: no restriction).
The kind is one of

    text            any text
    high|low        one of these words
    integer 1..     a whole number of at least 1; `0..9` has an upper limit too
    number 0..1     a number within these limits
    index           the folder of a second index, whose views are in the schema of that name

Parameters called `layer`, `unit` and `label` must exist in the index, see `Index.query`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
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
    "find_query",
    "load_query",
    "parse_query",
    "query_folder",
    "query_names",
]

Kind = Literal["text", "word", "integer", "number", "index"]
"""What a parameter may hold; a `word` is one of those that the header lists."""

Value = str | int | float | None
"""What a parameter is bound to; None is `any`."""

ANY = "any"
"""Written for a parameter that should not restrict anything."""

_PARAMETER = re.compile(r"\$(\w+): (\S+)(?: (-?[\d.]+?)\.\.(-?[\d.]+)?)?(?: = (\S+))?\s{2,}(\S.*)")
_COLUMN = re.compile(r"(\w+)\s{2,}(\S.*)")


@dataclass(frozen=True, slots=True)
class Parameter:
    """One `$name` of a query.

    Args:
        name: without the `$`.
        kind: what it may hold.
        default: as written; None where it must be given.
        about: its meaning.
        words: of a `word`, those it may be.
        lowest, highest: of an `integer` or `number`, both included.
    """

    name: str
    kind: Kind
    default: str | None
    about: str
    words: tuple[str, ...] = ()
    lowest: float = -math.inf
    highest: float = math.inf

    @property
    def optional(self) -> bool:
        """Whether it may be left out."""
        return self.default is not None

    @property
    def written(self) -> str:
        """As on the command line: `n=20`, or `layer=LAYER` where it must be given."""
        return f"{self.name}={self.name.upper() if self.default is None else self.default}"

    @property
    def expected(self) -> str:
        """What it may be, in words."""
        if self.kind not in ("integer", "number"):
            return " or ".join(self.words) or "text that is not empty"
        what = "an integer" if self.kind == "integer" else "a number"
        if math.isinf(self.highest):
            return what if math.isinf(self.lowest) else f"{what} of at least {self.lowest:g}"
        return f"{what} from {self.lowest:g} to {self.highest:g}"

    def read(self, text: str) -> Value:
        """A value from its text; None for `any` where that is the default.

        Raises:
            ValueError: when it cannot be one.
        """
        if text == ANY and self.default == ANY:
            return None
        if self.kind in ("integer", "number"):
            number = int(text) if self.kind == "integer" else float(text)
            if math.isfinite(number) and self.lowest <= number <= self.highest:
                return number
        elif text and (not self.words or text in self.words):
            return text
        raise ValueError(text)


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
        """Its parameters as on the command line, optional ones in brackets."""
        return " ".join(f"[{each.written}]" if each.optional else each.written for each in self.parameters)

    def values(self, given: Mapping[str, object]) -> dict[str, Value]:
        """The values to bind: those given, checked and converted, and the defaults.

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
            name: self._read(parameter, given.get(name, parameter.default))
            for name, parameter in known.items()
        }

    def _read(self, parameter: Parameter, given: object) -> Value:
        text = str(given).strip()
        try:
            return parameter.read(text)
        except (ValueError, OverflowError):
            any_too = f" or {ANY}" if parameter.default == ANY else ""
            raise UsageError(
                f"query {self.name}: {parameter.name} ({parameter.about}) must be "
                f"{parameter.expected}{any_too}, got {text!r}"
            ) from None


def query_folder() -> Path:
    """The folder of the .sql files: inside the package when installed, else in the checkout.

    Raises:
        QueryError: when the installation is incomplete.
    """
    package = Path(pipeline.__file__).resolve().parent
    for folder in (package / "queries", package.parent / "queries"):
        if any(folder.glob("*.sql")):
            return folder
    raise QueryError(f"no .sql files in {package}; the installation is incomplete, install maxact again")


def query_names() -> tuple[str, ...]:
    """The names of all queries, sorted."""
    return tuple(sorted(path.stem for path in query_folder().glob("*.sql")))


@cache
def load_query(name: str) -> NamedQuery:
    """One named query.

    Raises:
        QueryError: when there is none of that name; similar names are suggested.
    """
    names = query_names()
    if name not in names:
        hint = did_you_mean(name, names) or f"; there are {', '.join(names)}"
        raise QueryError(f"no query is called {name!r}{hint}")
    return parse_query(name, (query_folder() / f"{name}.sql").read_text(encoding="utf-8"))


def find_query(name: str) -> NamedQuery:
    """One named query, or that of a file.

    Args:
        name: of a named query, or the path of a file that ends with .sql. Never text from a network: files
            are read wherever they are, and their SQL is not confined.

    Raises:
        QueryError: when there is none, or the file's header is not as described at the top of this module.
    """
    if not name.endswith(".sql"):
        return load_query(name)
    path = Path(name)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text in UTF-8"
        raise QueryError(f"cannot read query {name}: {reason}") from error
    return replace(parse_query(name.removesuffix(".sql"), text), name=name)


def parse_query(name: str, text: str) -> NamedQuery:
    """Parse one query file.

    Raises:
        QueryError: when its header is not as described at the top of this module.
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
    """The description of a query: call, purpose, parameters, columns and SQL."""
    parameters = [(p.written, p.about) for p in query.parameters]
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
    if match:
        name, kind, lowest, highest, default, about = match.groups()
        if "|" in kind:
            return Parameter(name, "word", default, about, words=tuple(kind.split("|")))
        for known in get_args(Kind):
            if kind == known != "word":
                limits = float(lowest or -math.inf), float(highest or math.inf)
                return Parameter(name, known, default, about, (), *limits)
    raise QueryError(f"{query}.sql: expected `$name: kind = default  about`, got {line!r}")


def _read_column(query: str, line: str) -> Column:
    match = _COLUMN.fullmatch(line)
    if match is None:
        raise QueryError(f"{query}.sql: expected `column  about`, got {line!r}")
    return Column(match[1], match[2])


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"
