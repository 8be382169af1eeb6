"""Which layers and units are meant: `blocks.*`; `0-23,40`, class names, numbers, or all of them."""

from __future__ import annotations

import fnmatch
import operator
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import SupportsIndex

from pipeline.errors import LayerError, UsageError, did_you_mean

__all__ = [
    "ALL_UNITS",
    "ClassUnits",
    "Patterns",
    "Units",
    "choose_names",
    "choose_units",
    "class_units",
    "select",
]

Patterns = str | Iterable[str]
"""Names or globs; a plain string is one of them."""

Units = str | Iterable[SupportsIndex]
"""Units as text (see `choose_units`) or as numbers."""

ALL_UNITS = "all"
"""The text that stands for every unit of a layer."""

_RANGE = re.compile(r"(\d{1,18})\s*(?:-\s*(\d{1,18}))?")


def select(
    patterns: Patterns,
    units: Units,
    counts: Mapping[str, int],
    *,
    where: str,
    classes: Mapping[str, Sequence[str]],
) -> dict[str, tuple[int, ...]]:
    """The units that are meant of the layers that are meant.

    One layer must have all the units; of several, each gives those that it has.

    Args:
        patterns: see `choose_names`.
        units: see `choose_units`; class names can be given for one layer only.
        counts: how many units each layer has, in forward order.
        where: what has these layers, for the error.
        classes: of the layers whose units have names.

    Raises:
        LayerError: when a pattern matches nothing.
        UsageError: when no layer has such units.
    """
    names = choose_names(patterns, list(counts), where=where)
    asked = units if isinstance(units, str) else _numbers(units, where)
    if len(names) == 1:
        (name,) = names
        return {name: choose_units(asked, counts[name], where=name, classes=classes.get(name))}
    found = {name: choose_units(asked, counts[name], where=name, clip=True) for name in names}
    if not any(found.values()):
        text = asked if isinstance(asked, str) else ", ".join(map(str, asked))
        raise UsageError(f"none of {', '.join(names)} has units {text}")
    return {name: chosen for name, chosen in found.items() if chosen}


def choose_names(patterns: Patterns, names: Sequence[str], *, where: str) -> tuple[str, ...]:
    """The layers that names or globs choose, in the order of `names`; all of them for none.

    Args:
        patterns: names or globs; a plain string is one of them.
        names: of all layers.
        where: what has these layers, for the error.

    Raises:
        LayerError: when a pattern matches nothing; the nearest names are suggested.
    """
    patterns = (patterns,) if isinstance(patterns, str) else tuple(patterns)
    for pattern in patterns:
        if not fnmatch.filter(names, pattern):
            hint = did_you_mean(pattern, names) or f"; it has {', '.join(names)}"
            raise LayerError(f"{where} has no layer {pattern!r}{hint}")
    return tuple(
        name
        for name in names
        if not patterns or any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
    )


def choose_units(
    units: Units,
    count: int,
    *,
    where: str = "the layer",
    classes: Sequence[str] | None = None,
    clip: bool = False,
) -> tuple[int, ...]:
    """The units of a layer that are meant.

    Args:
        units: numbers; or text of numbers, inclusive ranges and class names separated by commas,
            such as `7`, `0-23,40` or `leopard,tiger cat`; or `all`. Class names are looked up as
            described at `class_units`.
        count: how many units the layer has; they are numbered 0..count-1.
        where: the layer's name, for the error.
        classes: one name per unit, where the layer is a classifier and its classes are known.
        clip: leave out numbers beyond the layer instead of refusing them.

    Returns:
        The units in the order asked for, each once.

    Raises:
        UsageError: for a unit out of range, a range that runs backwards, an unknown class name.
    """
    if isinstance(units, str):
        return _parse_units(units, count, where, classes or (), clip)
    chosen: dict[int, None] = {}
    for number in _numbers(units, where):
        chosen.update(dict.fromkeys(_span(number, number, str(number), count, where, clip)))
    return tuple(chosen)


def _numbers(units: Iterable[SupportsIndex], where: str) -> tuple[int, ...]:
    """Whole numbers of any kind (NumPy's too) as Python's."""
    try:
        return tuple(operator.index(unit) for unit in units)
    except TypeError:
        raise UsageError(f"units of {where} are numbers, or text such as 0-23,40; got {units!r}") from None


def _parse_units(text: str, count: int, where: str, classes: Sequence[str], clip: bool) -> tuple[int, ...]:
    if text.strip() == ALL_UNITS:
        return tuple(range(count))
    named = class_units(classes[:count])
    chosen: dict[int, None] = {}
    for item in (part.strip() for part in text.split(",")):
        if match := _RANGE.fullmatch(item):
            first = int(match[1])
            last = first if match[2] is None else int(match[2])
            found: Iterable[int] | None = _span(first, last, item, count, where, clip)
        else:
            found = named.get(item.casefold())
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


def _span(first: int, last: int, text: str, count: int, where: str, clip: bool) -> range:
    """Units first..last of a layer; `text` is how they were asked for."""
    if last < first:
        raise UsageError(f"the range {text} runs backwards; write {last}-{first}")
    if first < 0 or (last >= count and not clip):
        raise UsageError(f"{where} has {count:,} units, numbered 0-{count - 1}; got {text}")
    return range(first, min(last + 1, count))
