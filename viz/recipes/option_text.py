"""Option values as text: how a recipe's settings are written on a command line and read back.

Numbers stand for themselves, the parts of a pair are separated by colons (`2.0:0.5`), octaves by
commas.
"""

from __future__ import annotations

import types
from dataclasses import dataclass
from typing import Any, Literal, Union, get_args, get_origin

from pipeline.errors import RenderError

__all__ = ["Octave", "ramp", "read_option", "write_option"]

MAX_NUMBER = 1 << 31
"""Largest number that an option takes: more steps or pixels than any rendering has."""


@dataclass(frozen=True, slots=True)
class Octave:
    """Steps at one picture size; sigma and step change linearly from the first to the last.

    Args:
        iterations: steps.
        scale: the picture is enlarged by this before the first step.
        sigma: standard deviation of the Gaussian blur after each step, in pixels.
        step: mean absolute change of a pixel in a step, on the scale 0..255.
    """

    iterations: int
    scale: float
    sigma: tuple[float, float]
    step: tuple[float, float]

    @property
    def sigmas(self) -> list[float]:
        """Sigma of every iteration."""
        return ramp(self.sigma, self.iterations)

    @property
    def steps(self) -> list[float]:
        """Step of every iteration."""
        return ramp(self.step, self.iterations)


def ramp(ends: tuple[float, float], count: int) -> list[float]:
    """So many numbers, linearly from the first to the last; one number is the first."""
    first, last = ends
    return [first + place / max(1, count - 1) * (last - first) for place in range(count)]


def write_option(value: Any) -> str:
    """The text that `read_option` reads back as this value."""
    if isinstance(value, Octave):
        return write_option((value.iterations, value.scale, *value.sigma, *value.step))
    if isinstance(value, tuple):
        separator = "," if value and isinstance(value[0], Octave) else ":"
        return separator.join(write_option(part) for part in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def read_option(text: str, kind: Any, where: str) -> Any:
    """Parse one value.

    Args:
        text: as written.
        kind: type of the option; a plain type, a Literal, a tuple or `Octave`.
        where: starts the error.

    Raises:
        RenderError: when the text is no such value.
    """
    try:
        return _parse(text.strip(), kind)
    except ValueError as error:
        raise RenderError(f"{where} is {_expectation(kind)}, got {text!r}") from error


def _parse(text: str, kind: Any) -> Any:
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Literal:
        if text not in inner:
            raise ValueError(text)
        return text
    if origin in (Union, types.UnionType):
        return None if text == "none" else _parse(text, inner[0])
    if origin is tuple and inner[-1] is Ellipsis:
        return tuple(_parse(part, inner[0]) for part in text.split(","))
    if origin is tuple:
        parts = text.split(":")
        if len(parts) != len(inner):
            raise ValueError(text)
        return tuple(_parse(part, each) for part, each in zip(parts, inner, strict=True))
    if kind is Octave:
        count, scale, *rest = _parse(text, tuple[int, float, float, float, float, float])
        return Octave(count, scale, (rest[0], rest[1]), (rest[2], rest[3]))
    if kind is bool:
        return {"yes": True, "true": True, "no": False, "false": False}.get(text) or _no(text)
    value = kind(text)
    # NaN is left to the recipe, which says what it needs instead.
    if isinstance(value, int | float) and abs(value) > MAX_NUMBER:
        raise ValueError(text)
    return value


def _no(text: str) -> bool:
    if text not in ("no", "false"):
        raise ValueError(text)
    return False


def _expectation(kind: Any) -> str:
    """What a value of a type looks like, for errors."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Literal:
        return f"one of {', '.join(inner)}"
    if origin in (Union, types.UnionType):
        return f"{_expectation(inner[0])} or none"
    if origin is tuple and inner[-1] is Ellipsis:
        return f"a comma-separated list, each {_expectation(inner[0])}"
    if origin is tuple:
        return f"{len(inner)} numbers separated by colons"
    if kind is Octave:
        return "iterations:scale:first sigma:last sigma:first step:last step"
    return {int: "a whole number", float: "a number", bool: "yes or no"}.get(kind, "text")
