"""Names, texts and paths as DuckDB's SQL writes them."""

from __future__ import annotations

from pathlib import Path

__all__ = ["literal_path", "quote_name", "quote_text"]


def quote_name(name: str) -> str:
    """A name of a schema, table or column, whatever its letters."""
    escaped = name.replace('"', '""')
    return f'"{escaped}"'


def quote_text(text: str) -> str:
    """A text as a literal."""
    escaped = text.replace("'", "''")
    return f"'{escaped}'"


def literal_path(path: Path) -> str:
    """The path with DuckDB's wildcards escaped."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in str(path))
