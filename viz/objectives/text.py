"""Objectives as the command line writes them.

    point                            the unit at the grid's centre
    -channel                         the lowest mean over positions
    point@3,4                        at grid row 3, column 4
    channel - 0.5*channel:7          against unit 7 of the same layer
    logit + 0.1*channel:blocks.4.2/5 with unit 5 of another layer

A term without `:` is the unit being rendered. `energy` is a unit's mean square, `layer` that of
all units together.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from pipeline.errors import RenderError, did_you_mean
from pipeline.layers.layer import Layer
from viz.objectives.objective import Objective, channel, energy, logit, point

__all__ = ["WHOLE_LAYER", "parse_objective"]

WHOLE_LAYER = -1
"""The unit number of a rendering that is of the whole layer."""

KINDS = ("point", "channel", "logit", "energy", "layer")

_TERM = re.compile(r"\s*([+-]?)\s*(?:(\d+(?:\.\d+)?)\s*\*\s*)?([a-z]+)(?:@(\d+)\s*,\s*(\d+))?(?::(\S+))?\s*")


def parse_objective(
    text: str,
    layer: Layer,
    layers: Sequence[Layer] = (),
    classes: Mapping[str, int] | None = None,
) -> Callable[[int], Objective]:
    """A function from the unit that is rendered to its objective.

    Args:
        text: as at the head of this module.
        layer: of the units that are rendered.
        layers: others that may be named.
        classes: class names to units of the classifier.

    Raises:
        RenderError: for text that is no objective, or a layer or unit that is not there.
    """
    known = {each.name: each for each in (*layers, layer)}
    terms, end = [], 0
    for match in _TERM.finditer(text):
        if match.start() != end or (end and not match[1]):
            break
        end = match.end()
        terms.append(_term(match, text, layer, known, classes or {}))
    if end != len(text) or not terms:
        raise RenderError(
            f"objective {text!r} is not understood at {text[end:]!r}; write for example point, "
            "-channel, point@3,4 or channel - 0.5*channel:7"
        )

    def make(unit: int) -> Objective:
        objective = terms[0](unit)
        for term in terms[1:]:
            objective = objective + term(unit)
        return objective

    return make


def _term(
    match: re.Match[str],
    text: str,
    layer: Layer,
    known: Mapping[str, Layer],
    classes: Mapping[str, int],
) -> Callable[[int], Objective]:
    sign, factor, kind, row, column, target = match.groups()
    if kind not in KINDS:
        raise RenderError(
            f"unknown objective {kind!r} in {text!r}; expected one of {', '.join(KINDS)}"
            f"{did_you_mean(kind, KINDS)}"
        )
    if row is not None and kind != "point":
        raise RenderError(f"objective {text!r}: only a point has a position, {kind} has none")
    place = (None, None) if row is None else (int(row), int(column))
    weight = float(factor or 1) * (-1 if sign == "-" else 1)
    where, fixed = layer, None
    if target is not None:
        where, fixed = _target(target, text, layer, known, classes)

    def make(unit: int) -> Objective:
        chosen = unit if fixed is None else fixed
        made = {
            "point": lambda: point(where, chosen, *place),
            "channel": lambda: channel(where, chosen),
            "logit": lambda: logit(where, chosen),
            "energy": lambda: energy(where, chosen),
            "layer": lambda: energy(where),
        }[kind]()
        return made if weight == 1 else made * weight

    return make


def _target(
    target: str, text: str, layer: Layer, known: Mapping[str, Layer], classes: Mapping[str, int]
) -> tuple[Layer, int]:
    name, slash, unit = target.rpartition("/")
    if slash and name not in known:
        hint = did_you_mean(name, known) or f"; expected one of {', '.join(known)}"
        raise RenderError(f"objective {text!r}: no layer {name!r}{hint}")
    if unit.isdigit():
        return known.get(name, layer), int(unit)
    named = unit.replace("_", " ").casefold()
    if named not in classes:
        raise RenderError(
            f"objective {text!r}: {unit!r} is neither a unit's number nor a class"
            f"{did_you_mean(named, classes)}"
        )
    return known.get(name, layer), classes[named]
