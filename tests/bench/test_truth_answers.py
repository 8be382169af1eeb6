"""bench.truth: how answers are counted, in one direction and in both."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from bench.truth.answers import Told, interval, tell
from bench.truth.explanations import Explained
from bench.truth.judge import accuracy
from bench.truth.tables import Row, both_ways, pooled, row_of, table_row
from pipeline.layers.layer import Layer

FEATURES = 16


def _features(count: int, seed: int) -> Tensor:
    return torch.randn(count, FEATURES, generator=torch.Generator().manual_seed(seed))


# ---- answers ----


def test_what_equals_the_top_patches_is_always_right() -> None:
    direction = _features(1, 0)
    top = direction + 0.1 * _features(6, 1)
    low = 0.1 * _features(6, 2) - direction
    assert accuracy(top, low, top) == 1
    assert accuracy(top, low, low) == 0


@pytest.mark.parametrize("seed", range(5))
def test_top_and_low_exchanged_give_the_rest_to_one(seed: int) -> None:
    top, low = _features(4, seed), _features(8, seed + 50)
    low[2], top[3] = top[0], low[1]
    explanation = _features(3, seed + 99)
    there, back = (accuracy(*pair, explanation) for pair in ((top, low), (low, top)))
    assert there + back == 1


def test_nothing_but_ties_is_chance() -> None:
    same = torch.ones(6, FEATURES)
    assert accuracy(same, same, _features(2, 0)) == 0.5


def test_random_explanations_are_right_half_of_the_time() -> None:
    found = [accuracy(_features(6, n), _features(6, 1000 + n), _features(1, 2000 + n)) for n in range(300)]
    mean, half = interval(found)
    assert abs(mean - 0.5) < 2 * half


def _planted(shared: float) -> tuple[dict[int, tuple[Tensor, Tensor]], dict[int, Tensor]]:
    """Units that each have a direction, and one that top patches of all units share.

    Low patches show something else, the same for all.
    """
    axes = torch.eye(FEATURES)
    questions, explanations = {}, {}
    for unit in range(10, 22):
        liked = shared * axes[14] + 3 * axes[unit - 10]
        top, low, seen = (0.1 * _features(6, 9 * unit + number) for number in range(3))
        questions[unit] = (liked + top, 3 * axes[15] + low)
        explanations[unit] = liked + seen
    return questions, explanations


def test_what_units_share_helps_another_units_explanation_unless_it_is_taken_away() -> None:
    questions, explanations = _planted(shared=5.0)
    told = tell(questions, explanations, torch.zeros(FEATURES))
    assert told.units == tuple(range(10, 22))
    assert set(told.common) == set(told.own) == {1.0}
    assert set(told.other_common) == {1.0}
    assert interval(told.other_own)[0] < 0.5


@pytest.mark.parametrize("offset", [0, 50])
def test_patches_and_renderings_are_each_centred_by_their_own_mean(offset: float) -> None:
    # What all renderings share is taken away, however far they lie from photographs.
    questions, patches = _planted(shared=2)
    far = offset * _features(1, 7)
    both = {unit: torch.cat([each, each, each + far]) for unit, each in patches.items()}
    told = tell(questions, both, torch.zeros(FEATURES), patches=2 * len(next(iter(patches.values()))))
    alone = tell(questions, patches, torch.zeros(FEATURES))
    assert (told.own, told.other_own) == (alone.own, alone.other_own)


def test_the_control_is_the_next_units_explanation() -> None:
    questions, explanations = _planted(shared=0.0)
    turned = {unit: explanations[10 + (unit - 9) % 12] for unit in explanations}
    common = torch.zeros(FEATURES)
    told, control = (tell(questions, each, common) for each in (explanations, turned))
    assert told.other_common == control.common
    assert told.other_own == pytest.approx(control.own)


def test_units_without_an_explanation_are_left_out() -> None:
    questions, explanations = _planted(shared=0.0)
    del explanations[12]
    told = tell(questions, explanations, torch.zeros(FEATURES))
    assert 12 not in told.units
    assert len(told.own) == 11


def test_layers_are_pooled_unit_by_unit() -> None:
    questions, explanations = _planted(shared=0.0)
    told = tell(questions, explanations, torch.zeros(FEATURES))
    few = Told((10,), (0.0,), (0.5,), (0.0,), (0.5,))
    one = Row("a", "real 4", 4.0, told, told.common, told.own, (), ())
    other = Row("b", "real 4", 1.0, few, (0.0,), (0.25,), (2.0,), ("ok",))
    both = pooled([one, other])
    assert both.told.own == (*told.own, 0.5)
    assert both.own_gain == (*told.own, 0.25)
    assert both.pictures == pytest.approx((4 * 12 + 1) / 13)
    assert "| 13 | " in table_row(both)


def test_the_interval_is_that_of_the_normal_approximation() -> None:
    mean, half = interval([0.0, 1.0, 0.0, 1.0])
    assert mean == 0.5
    assert half == pytest.approx(1.96 * (1 / 3) ** 0.5 / 2)


# ---- both directions ----


def _row(seed: int, units: Sequence[int], real: Row | None = None) -> Row:
    """Explanations of units with accuracies that are chance, and a rendering of each unit."""
    generator = torch.Generator().manual_seed(seed)
    columns = torch.randint(37, (4, len(units)), generator=generator) / 36
    told = Told(tuple(units), *(tuple(column) for column in columns.tolist()))
    layer = Layer("a", 0, "map", 40, 0, 4, 4, 7, 7, 2, 2, 0, 0)
    explained = Explained("fourier", {unit: torch.zeros(1 + seed, FEATURES) for unit in units})
    row = row_of(layer, explained, told, real and real.told)
    ratios = tuple(torch.rand(len(units), generator=generator).tolist())
    statuses = tuple("ok" if ratio > 0.5 else "weak" for ratio in ratios)
    return dataclasses.replace(row, ratios=ratios, statuses=statuses)


@pytest.mark.parametrize("seed", range(5))
def test_the_mean_of_both_directions_does_not_depend_on_which_comes_first(seed: int) -> None:
    one, other = _row(seed, range(3, 9)), _row(seed + 5, range(3, 9))
    forth, back = both_ways(one, other), both_ways(other, one)
    assert forth.told.units == one.told.units
    assert forth.pictures == seed + 3.5
    assert sorted(forth.ratios) == sorted(back.ratios) == sorted(one.ratios + other.ratios)
    assert sorted(forth.statuses) == sorted(back.statuses) == sorted(one.statuses + other.statuses)
    assert forth == dataclasses.replace(back, ratios=forth.ratios, statuses=forth.statuses)


@pytest.mark.parametrize("seed", range(5))
def test_the_mean_of_equal_directions_is_either(seed: int) -> None:
    row = _row(seed, range(3, 9), _row(seed + 5, range(3, 9)))
    both = both_ways(row, row)
    assert dataclasses.replace(both, ratios=row.ratios, statuses=row.statuses) == row
    assert table_row(both) == table_row(row)


@pytest.mark.parametrize("seed", range(5))
def test_a_units_mean_gain_is_its_mean_accuracy_less_that_of_a_real_patch(seed: int) -> None:
    reals = [_row(number, range(3, 9)) for number in (seed, seed + 5)]
    rows = [_row(seed + 10 + number, range(3, 9), real) for number, real in enumerate(reals)]
    real, both = both_ways(*reals), both_ways(*rows)
    for gains, mine, theirs in (
        (both.common_gain, both.told.common, real.told.common),
        (both.own_gain, both.told.own, real.told.own),
    ):
        assert gains == pytest.approx([one - other for one, other in zip(mine, theirs, strict=True)])


def test_a_unit_that_one_direction_lacks_has_no_mean() -> None:
    real = _row(0, range(3, 9))
    one, other = _row(1, (3, 4, 6, 8), real), _row(2, (4, 5, 6, 7, 8), real)
    both = both_ways(one, other)
    assert both.told.units == (4, 6, 8)
    assert both.told.own == tuple(
        (one.told.own[there] + other.told.own[here]) / 2 for there, here in ((1, 0), (2, 2), (3, 4))
    )
