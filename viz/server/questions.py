"""What stands in the box for SQL: text of a visitor's, or a named query with the values of its parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pipeline.query.named_queries import NamedQuery, load_query, query_names

__all__ = ["Question", "offered_queries"]


@dataclass(frozen=True, slots=True)
class Question:
    """What stands in the box for SQL.

    Args:
        text: SQL.
        name: of the named query that it was made from; empty for none.
        values: of its parameters, as typed.
    """

    text: str = ""
    name: str = ""
    values: Mapping[str, str] = field(default_factory=dict)

    def params(self) -> dict[str, object]:
        """The values of the parameters that the text has.

        Raises:
            UsageError: for a value that is missing or not allowed.
        """
        query = self.query
        if query is None:
            return {}
        given = {name: value for name, value in self.values.items() if value.strip()}
        return {name: value for name, value in query.values(given).items() if f"${name}" in self.text}

    def shared(self) -> dict[str, str]:
        """Fields of an address that fills the box in like this."""
        fields = {"sql": self.text, "query": self.name} | {
            f"p.{name}": value for name, value in self.values.items()
        }
        return {name: value for name, value in fields.items() if value}

    @property
    def query(self) -> NamedQuery | None:
        """The named query; None for none."""
        return load_query(self.name) if self.name in offered_queries() else None


def offered_queries() -> tuple[str, ...]:
    """The named queries that need no second index."""
    return tuple(
        name
        for name in query_names()
        if all(parameter.kind != "index" for parameter in load_query(name).parameters)
    )
