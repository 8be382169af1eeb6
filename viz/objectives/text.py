"""Objectives as the command line writes them, parsed in this one place.

    point                            the unit at the grid's centre
    -channel                         the lowest mean over positions
    point@3,4                        at grid row 3, column 4
    channel - 0.5*channel:7          minus half of unit 7 of the same layer
    logit + 0.1*channel:blocks.4.2/5 with unit 5 of another layer
    decoder                          of a dictionary: its layer along the unit's direction, at the centre

A term without `:` is the unit being rendered. `energy` is a unit's mean square, `layer` that of
all units together. Reading a text needs no torch; making objectives of it does.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast, get_args

from pipeline.errors import RenderError, did_you_mean

if TYPE_CHECKING:
    from torch import nn

    from pipeline.layers.layer import Layer
    from viz.objectives.objective import Objective

__all__ = ["WHOLE_LAYER", "ObjectiveText", "TermText", "is_at_centre", "parse_objective", "read_objective"]

WHOLE_LAYER = -1
"""The unit number of a rendering that is of the whole layer."""

Kind = Literal["point", "channel", "logit", "energy", "layer", "decoder"]

KINDS: tuple[Kind, ...] = get_args(Kind)

_TERM = re.compile(r"\s*([+-]?)\s*(?:(\d+(?:\.\d+)?)\s*\*\s*)?([a-z]+)(?:@(\d+)\s*,\s*(\d+))?(?::(\S+))?\s*")


@dataclass(frozen=True, slots=True)
class TermText:
    """One term as it is written.

    Args:
        kind: what is scored.
        weight: factor, with the sign.
        position: grid row and column of a point or decoder; None for the centre.
        target: what stands after `:`, a unit or class, with a layer in front or not; None for the
            unit being rendered.
    """

    kind: Kind
    weight: float = 1.0
    position: tuple[int, int] | None = None
    target: str | None = None


@dataclass(frozen=True, slots=True)
class ObjectiveText:
    """An objective as it is written.

    Args:
        text: without space around it; names the objective in the table of renderings.
        terms: one or more.
    """

    text: str
    terms: tuple[TermText, ...]

    @property
    def is_whole_layer(self) -> bool:
        """Whether it is of all units of a layer together, the same whichever unit is rendered."""
        return self._is_one("layer")

    @property
    def is_one_unit(self) -> bool:
        """Whether it is of the unit being rendered alone, highest or lowest."""
        return self._is_one("point", "channel", "logit")

    @property
    def is_at_centre(self) -> bool:
        """Whether it is the unit being rendered at the grid's centre, highest or lowest."""
        return self._is_one("point") and self.terms[0].position is None

    def _is_one(self, *kinds: Kind) -> bool:
        first = self.terms[0]
        alone = len(self.terms) == 1 and abs(first.weight) == 1 and first.target is None
        return alone and first.kind in kinds


def read_objective(text: str) -> ObjectiveText:
    """Parse an objective.

    Args:
        text: as at the head of this module.

    Raises:
        RenderError: for text that is no objective.
    """
    terms: list[TermText] = []
    end = 0
    for match in _TERM.finditer(text):
        if match.start() != end or (end and not match[1]):
            break
        end = match.end()
        terms.append(_read_term(match, text))
    if end != len(text) or not terms:
        raise RenderError(
            f"objective {text!r} is not understood at {text[end:]!r}; write for example point, "
            "-channel, point@3,4 or channel - 0.5*channel:7"
        )
    return ObjectiveText(text.strip(), tuple(terms))


def _read_term(match: re.Match[str], text: str) -> TermText:
    sign, factor, name, row, column, target = match.groups()
    kind = next((each for each in KINDS if each == name), None)
    if kind is None:
        raise RenderError(
            f"unknown objective {name!r} in {text!r}; expected one of {', '.join(KINDS)}"
            f"{did_you_mean(name, KINDS)}"
        )
    if row is not None and kind not in ("point", "decoder"):
        raise RenderError(f"objective {text!r}: only a point or decoder has a position, {kind} has none")
    weight = float(factor or 1) * (-1 if sign == "-" else 1)
    return TermText(kind, weight, None if row is None else (int(row), int(column)), target)


def is_at_centre(name: str) -> bool:
    """Whether a name in the table of renderings is an objective of one unit at the grid's centre.

    Objectives that are functions have names of any kind.
    """
    try:
        return read_objective(name).is_at_centre
    except RenderError:
        return False


def parse_objective(
    objective: str | ObjectiveText,
    layer: Layer,
    layers: Sequence[Layer] = (),
    classes: Mapping[str, int] | None = None,
    module: nn.Module | None = None,
) -> Callable[[int], Objective]:
    """A function from the unit that is rendered to its objective.

    Args:
        objective: text as at the head of this module, parsed or not.
        layer: of the units that are rendered.
        layers: others that may be named.
        classes: class names to units of the classifier.
        module: the network, for objectives of a dictionary's decoder.

    Raises:
        RenderError: for text that is no objective, or a layer or unit that is not there.
    """
    known = {each.name: each for each in (*layers, layer)}
    read = read_objective(objective) if isinstance(objective, str) else objective
    makers = [_maker(term, read.text, layer, known, classes or {}, module) for term in read.terms]

    def make(unit: int) -> Objective:
        made = makers[0](unit)
        for maker in makers[1:]:
            made = made + maker(unit)
        return made

    return make


def _maker(
    term: TermText,
    text: str,
    layer: Layer,
    known: Mapping[str, Layer],
    classes: Mapping[str, int],
    module: nn.Module | None,
) -> Callable[[int], Objective]:
    from viz.objectives.dictionary_units import decoder
    from viz.objectives.objective import channel, energy, logit, point

    if term.kind == "decoder" and module is None:
        raise RenderError(f"objective {text!r}: a decoder needs the network that has it")
    where, fixed = layer, None
    if term.target is not None:
        where, fixed = _find_target(term.target, text, layer, known, classes)

    def make(unit: int) -> Objective:
        chosen = unit if fixed is None else fixed
        made = {
            "point": lambda: point(where, chosen, *(term.position or (None, None))),
            "channel": lambda: channel(where, chosen),
            "logit": lambda: logit(where, chosen),
            "energy": lambda: energy(where, chosen),
            "layer": lambda: energy(where),
            "decoder": lambda: decoder(cast("nn.Module", module), where, chosen, *(term.position or ())),
        }[term.kind]()
        return made if term.weight == 1 else made * term.weight

    return make


def _find_target(
    target: str, text: str, layer: Layer, known: Mapping[str, Layer], classes: Mapping[str, int]
) -> tuple[Layer, int]:
    """Layer and unit that a term names."""
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
