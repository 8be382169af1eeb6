"""The orders of trials of participants, counterbalanced.

Two orders belong together: they are the same but for the sides, so that over both of them the photograph
that drives the unit more is as often at the left as at the right in every single comparison. Within an
order, it is so in each condition, up to one trial where their number is odd.

The trials of an order come in rounds, each of which has one trial of every condition in random order. A
unit comes once in each condition, and its trials are as far apart as possible: with R rounds and C
conditions about R / C rounds. Which condition a unit is seen in first rotates from pair to pair.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from pipeline.errors import UsageError
from viz.study.questions import ASKED, MOST

__all__ = ["ORDERS", "Plan", "Trial", "plan_orders", "plan_practice"]

ORDERS = 48
"""Orders of a study: a multiple of 2, and of every number of conditions up to 4."""

CATCH_EVERY = 12
"""Trials of a participant to one catch trial."""

PRACTICE = 3
"""Trials with feedback at the start."""

Kind = Literal["trial", "practice", "catch"]


@dataclass(frozen=True, slots=True)
class Trial:
    """One comparison of two photographs.

    Args:
        kind: what it is for.
        unit: place of the unit among those of the study, or of the spare ones if it is no `trial`.
        condition: place of the condition among those of the study; 0 if it is no `trial`.
        high: place of the photograph that drives the unit more, among those of the question; in a
            catch trial, among the references.
        low: place of the other one.
        right: whether the photograph that drives the unit more is shown at the right.
    """

    kind: Kind
    unit: int
    condition: int
    high: int
    low: int
    right: bool

    def mirrored(self) -> Trial:
        """The same with the sides exchanged."""
        return replace(self, right=not self.right)


@dataclass(frozen=True, slots=True)
class Plan:
    """What is counterbalanced.

    Args:
        units: of the study.
        conditions: of the study.
        spare: other units, for practice and catch trials.
        trials: of a participant, without practice and catch trials; None: every unit in every
            condition.
        seed: of the study.
    """

    units: int
    conditions: int
    spare: int
    trials: int | None = None
    seed: int = 0

    @property
    def rounds(self) -> int:
        """Trials of each condition in an order.

        Raises:
            UsageError: if the trials cannot be divided among the conditions.
        """
        if self.trials is None:
            return self.units
        rounds, rest = divmod(self.trials, self.conditions)
        if rest or not 1 <= rounds <= self.units:
            raise UsageError(
                f"--trials {self.trials}: give a multiple of {self.conditions}, the number of conditions, of "
                f"at most {self.units * self.conditions}, as there are {self.units} units"
            )
        return rounds

    @property
    def catches(self) -> int:
        """Catch trials in an order."""
        return max(1, round(self.rounds * self.conditions / CATCH_EVERY))


def plan_orders(plan: Plan) -> list[list[Trial]]:
    """Plan all orders of a study, without practice; number 2n + 1 is number 2n mirrored.

    Raises:
        UsageError: if the trials cannot be divided among the conditions.
    """
    units = list(range(plan.units))
    _random(plan, "units").shuffle(units)
    orders = []
    for pair in range(ORDERS // 2):
        trials = _one_order(plan, units, pair)
        orders += [trials, [trial.mirrored() for trial in trials]]
    return orders


def plan_practice(plan: Plan) -> list[Trial]:
    """Plan the practice trials, which are the same for all participants."""
    rng = _random(plan, "practice")
    sides = _sides(PRACTICE, rng)
    high, low = (rng.sample(range(ASKED), PRACTICE) for _ in range(2))
    return [
        Trial("practice", number % plan.spare, 0, high[number], low[number], sides[number])
        for number in range(PRACTICE)
    ]


def _one_order(plan: Plan, units: Sequence[int], pair: int) -> list[Trial]:
    rng = _random(plan, pair)
    rounds = plan.rounds
    # Units take turns where an order has not room for all.
    chosen = [units[(pair * rounds + place) % plan.units] for place in range(rounds)]
    rng.shuffle(chosen)
    asked = {unit: [rng.sample(range(ASKED), plan.conditions) for _ in range(2)] for unit in chosen}
    sides = [_sides(rounds, rng) for _ in range(plan.conditions)]
    trials: list[Trial] = []
    for number in range(rounds):
        conditions = list(range(plan.conditions))
        rng.shuffle(conditions)
        for condition in conditions:
            turn = (condition + pair) % plan.conditions
            unit = chosen[(number + turn * rounds // plan.conditions) % rounds]
            high, low = (drawn[condition] for drawn in asked[unit])
            trials.append(Trial("trial", unit, condition, high, low, sides[condition][number]))
    return _with_catches(plan, trials, rng)


def _with_catches(plan: Plan, trials: Sequence[Trial], rng: random.Random) -> list[Trial]:
    """Insert the catch trials, evenly distributed; none is the first."""
    sides = _sides(plan.catches, rng)
    mixed = list(trials)
    for number in reversed(range(plan.catches)):
        first, last = (len(trials) * (number + end) // plan.catches for end in (0, 1))
        spare = (PRACTICE + number) % plan.spare
        catch = Trial("catch", spare, 0, rng.randrange(MOST), rng.randrange(ASKED), sides[number])
        mixed.insert(rng.randint(min(first + 1, last), last), catch)
    return mixed


def _sides(count: int, rng: random.Random) -> list[bool]:
    """As many of each side, in random order; where the number is odd, one more of a random one."""
    sides = [number < count // 2 for number in range(count)]
    if count % 2:
        sides[-1] = rng.random() < 0.5
    rng.shuffle(sides)
    return sides


def _random(plan: Plan, what: object) -> random.Random:
    return random.Random(f"maxact study {plan.seed} {what}")
