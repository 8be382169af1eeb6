"""Which layers and units are meant: `blocks.*`; `0-23,40`, class names, or all of them."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator, Mapping, Sequence

from pipeline.errors import LayerError, UsageError, did_you_mean

__all__ = ["ClassUnits", "class_units", "match_names", "parse_units"]

_RANGE = re.compile(r"(\d+)\s*(?:-\s*(\d+))?")


def match_names(patterns: Sequence[str], names: Sequence[str], *, where: str) -> tuple[str, ...]:
    """The layers that names or globs choose, in the order of `names`; all of them for none.

    Raises:
        LayerError: when a pattern matches nothing; the nearest names are suggested.
    """
    for pattern in patterns:
        if not fnmatch.filter(names, pattern):
            hint = did_you_mean(pattern, names) or f"; it has {', '.join(names)}"
            raise LayerError(f"{where} has no layer {pattern!r}{hint}")
    return tuple(
        name
        for name in names
        if not patterns or any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
    )


def parse_units(
    text: str,
    count: int,
    *,
    where: str = "the layer",
    classes: Sequence[str] | None = None,
    clip: bool = False,
) -> tuple[int, ...]:
    """Read a choice of units: numbers, inclusive ranges and class names, separated by commas.

    Args:
        text: for example `7`, `0-23,40`, `leopard,tiger cat`, or `all`; class names are looked up
            as described at `class_units`.
        count: how many units the layer has; they are numbered 0..count-1.
        where: the layer's name, for the error.
        classes: one name per unit, where the layer is a classifier and its classes are known.
        clip: leave out numbers beyond the layer instead of refusing them.

    Returns:
        The units in the order asked for, each once.

    Raises:
        UsageError: for a unit out of range, a range that runs backwards, an unknown class name.
    """
    if text.strip() == "all":
        return tuple(range(count))
    named = class_units((classes or ())[:count])
    chosen: dict[int, None] = {}
    for item in (part.strip() for part in text.split(",")):
        match = _RANGE.fullmatch(item)
        found = _span(match, count, where, clip) if match else named.get(item.casefold())
        if found is None:
            hint = did_you_mean(item.casefold(), named) if named else ""
            raise UsageError(
                f"units of {where} are written like 0-23,40{' or by class name' if named else ''}, "
                f"or all; got {item!r}{hint}"
            )
        chosen.update(dict.fromkeys(found))
    return tuple(chosen)


def class_units(classes: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """The units that class names stand for, whatever their case.

    A class goes by its full name (`tabby, tabby cat`) and by each part between commas (`tabby`). A
    full name takes precedence over a part of another class's name. A name that several classes
    share stands for all of them, in order; `ClassUnits` refuses it where one unit is needed.

    Args:
        classes: one name per unit.

    Returns:
        Units by name in lower case.
    """
    whole: dict[str, list[int]] = {}
    parts: dict[str, list[int]] = {}
    for unit, name in enumerate(classes):
        whole.setdefault(name.strip().casefold(), []).append(unit)
        for part in dict.fromkeys(part.strip().casefold() for part in name.split(",")):
            parts.setdefault(part, []).append(unit)
    return {name: tuple(units) for name, units in (parts | whole).items()}


class ClassUnits(Mapping[str, int]):
    """The one unit that each class name stands for, by the rule of `class_units`.

    Looking up a name that several classes share raises a UsageError that lists their units.

    Args:
        classes: one name per unit.
    """

    def __init__(self, classes: Sequence[str]) -> None:
        self._classes = tuple(classes)
        self._units = class_units(classes)

    def __getitem__(self, name: str) -> int:
        units = self._units[name]
        if len(units) > 1:
            listed = ", ".join(f"{unit} ({self._classes[unit]})" for unit in units)
            raise UsageError(f"class name {name!r} is ambiguous: units {listed}; give a number")
        return units[0]

    def __iter__(self) -> Iterator[str]:
        return iter(self._units)

    def __len__(self) -> int:
        return len(self._units)


def _span(match: re.Match[str], count: int, where: str, clip: bool) -> range:
    first = int(match[1])
    last = first if match[2] is None else int(match[2])
    if last < first:
        raise UsageError(f"the range {match[0]} runs backwards; write {last}-{first}")
    if clip:
        return range(first, min(last + 1, count))
    if last >= count:
        raise UsageError(f"{where} has {count:,} units, numbered 0-{count - 1}; got {match[0]}")
    return range(first, last + 1)
