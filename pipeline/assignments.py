"""`KEY=VALUE` words, as several options and commands take them."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.errors import UsageError

__all__ = ["parse_assignments"]


def parse_assignments(words: Sequence[str], where: str) -> dict[str, str]:
    """Keys to values, in the order given, without the spaces around either.

    Args:
        words: `KEY=VALUE` each; the value may hold further `=`.
        where: the option or command that takes them; starts the error.

    Raises:
        UsageError: for a word without `=` or without a key, or a key given twice.
    """
    values: dict[str, str] = {}
    for word in words:
        key, equals, value = (part.strip() for part in word.partition("="))
        if not equals or not key:
            raise UsageError(f"{where} takes KEY=VALUE, got {word!r}")
        if key in values:
            raise UsageError(f"{where}: {key} is given twice, as {values[key]!r} and {value!r}")
        values[key] = value
    return values
