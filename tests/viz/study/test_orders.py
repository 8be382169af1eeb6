"""Counterbalancing: laws of the orders, for any numbers of units and conditions."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import UsageError
from viz.study.orders import ORDERS, PRACTICE, Plan, Trial, plan_orders, plan_practice
from viz.study.questions import ASKED, MOST


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    units, conditions = draw(st.integers(1, 30)), draw(st.integers(1, 5))
    rounds = draw(st.none() | st.integers(1, units))
    trials = None if rounds is None else rounds * conditions
    return Plan(units, conditions, draw(st.integers(1, 6)), trials, draw(st.integers(0, 2**63 - 1)))


def asked(order: list[Trial]) -> list[Trial]:
    """The trials that count."""
    return [trial for trial in order if trial.kind == "trial"]


@settings(max_examples=40, deadline=None)
@given(plans())
def test_every_order_is_balanced(plan: Plan) -> None:
    orders = plan_orders(plan)
    assert len(orders) == ORDERS
    for order in orders:
        trials = asked(order)
        assert Counter(trial.condition for trial in trials) == dict.fromkeys(
            range(plan.conditions), plan.rounds
        )
        by_unit = Counter((trial.unit, trial.condition) for trial in trials)
        assert set(by_unit.values()) == {1}, "a unit is there once in a condition"
        assert len({trial.unit for trial in trials}) == plan.rounds
        for condition in range(plan.conditions):
            right = sum(trial.right for trial in trials if trial.condition == condition)
            assert abs(2 * right - plan.rounds) <= 1
        # Every round has every condition.
        for start in range(0, len(trials), plan.conditions):
            block = trials[start : start + plan.conditions]
            assert {trial.condition for trial in block} == set(range(plan.conditions))


@settings(max_examples=40, deadline=None)
@given(plans())
def test_no_photograph_of_a_unit_is_asked_about_twice(plan: Plan) -> None:
    for order in plan_orders(plan):
        for side in ("high", "low"):
            seen = Counter((trial.unit, getattr(trial, side)) for trial in asked(order))
            assert set(seen.values()) == {1}
        for trial in order:
            assert 0 <= trial.high < (MOST if trial.kind == "catch" else ASKED)
            assert 0 <= trial.low < ASKED


@settings(max_examples=40, deadline=None)
@given(plans())
def test_over_two_orders_every_comparison_is_shown_on_both_sides(plan: Plan) -> None:
    orders = plan_orders(plan)
    for even, odd in zip(orders[::2], orders[1::2], strict=True):
        assert [trial.mirrored() for trial in even] == odd


@settings(max_examples=40, deadline=None)
@given(plans())
def test_catch_trials_are_few_and_never_first(plan: Plan) -> None:
    for order in plan_orders(plan):
        catches = [place for place, trial in enumerate(order) if trial.kind == "catch"]
        assert len(catches) == plan.catches
        assert len(order) == plan.rounds * plan.conditions + plan.catches
        assert catches[0] > 0
        assert all(order[place].unit < plan.spare for place in catches)


def test_units_take_turns_where_an_order_has_not_room_for_all() -> None:
    plan = Plan(units=24, conditions=2, spare=6, trials=16)
    seen = Counter(trial.unit for order in plan_orders(plan) for trial in asked(order))
    assert len(seen) == 24
    assert len(set(seen.values())) == 1


def test_which_condition_a_unit_is_seen_in_first_is_balanced() -> None:
    plan = Plan(units=24, conditions=3, spare=6)
    first: Counter[tuple[int, int]] = Counter()
    for order in plan_orders(plan):
        seen: set[int] = set()
        for trial in asked(order):
            if trial.unit not in seen:
                first[trial.condition, 0] += 1
            seen.add(trial.unit)
    counts = list(first.values())
    assert max(counts) - min(counts) < 0.1 * sum(counts)


def test_the_trials_of_a_unit_are_far_apart() -> None:
    for order in plan_orders(Plan(units=24, conditions=2, spare=6)):
        places: dict[int, list[int]] = {}
        for place, trial in enumerate(asked(order)):
            places.setdefault(trial.unit, []).append(place)
        assert all(second - first >= 22 for first, second in places.values())


def test_a_seed_repeats_and_another_differs() -> None:
    plan = Plan(units=8, conditions=2, spare=4, seed=3)
    assert plan_orders(plan) == plan_orders(plan)
    assert plan_practice(plan) == plan_practice(plan)
    assert plan_orders(plan) != plan_orders(Plan(units=8, conditions=2, spare=4, seed=4))
    assert [trial.kind for trial in plan_practice(plan)] == ["practice"] * PRACTICE


@pytest.mark.parametrize("trials", [3, 18, 1])
def test_trials_that_cannot_be_divided_are_refused(trials: int) -> None:
    with pytest.raises(UsageError, match="multiple of 2"):
        plan_orders(Plan(units=8, conditions=2, spare=4, trials=trials))
