"""Which command is disturbed by what: one case for each seed."""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass

from tests.faults.faults import KINDS, Fault, Kind
from tests.faults.scenarios import PAIRED, starts

__all__ = ["PAIRS", "Case", "case_of", "fault_of"]

PAIRS: list[tuple[str, str, str]] = [
    (state, *pair)
    for state, commands in PAIRED.items()
    for pair in itertools.combinations_with_replacement(commands, 2)
]
"""All (state, command, command) that are run at once."""

PAIR_SEEDS = 4
"""One case of so many runs two commands at once."""

SIGNALS: tuple[Kind, ...] = ("kill", "term", "int", "stop")

HOUR_S = 3600


@dataclass(frozen=True, slots=True)
class Case:
    """One disturbed command, or two commands at once.

    Args:
        seed: that it was drawn from.
        state: of OUT before.
        command: by name.
        fault: that happens to it; None for two commands at once.
        second: the command that runs at the same time.
        delay: its start, as a share of the duration of the first.
    """

    seed: int
    state: str
    command: str
    fault: Fault | None = None
    second: str | None = None
    delay: float = 0.0


def case_of(seed: int) -> Case:
    """The case of a seed: always the same."""
    draw = random.Random(f"case {seed}")
    if seed % PAIR_SEEDS == 0:
        # Neighbouring seeds run different pairs, so that few seeds run all of them.
        state, command, second = PAIRS[seed // PAIR_SEEDS % len(PAIRS)]
        return Case(seed, state, command, None, second, draw.uniform(0, 1) * draw.choice((0, 1)))
    state, command = draw.choice(starts())
    return Case(seed, state, command, fault_of(draw))


def fault_of(draw: random.Random) -> Fault:
    """A random fault."""
    kind = draw.choice((*KINDS, "power", "eio"))
    moment = draw.choice((draw.random(), draw.random(), draw.uniform(0.9, 1.0)))
    if kind == "readonly":
        moment *= draw.choice((0, 1))
    amount = {"descriptors": draw.randint(12, 64), "clock": draw.choice((1, HOUR_S, 24 * 365 * HOUR_S))}
    timed = kind in SIGNALS and draw.random() < 0.3
    return Fault(kind, moment, timed, draw.random() < 0.5 or kind != "eio", amount.get(kind, 0))
