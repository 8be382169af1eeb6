"""Clarity, polysemanticity and redundancy against their definitions."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.naming.semantics import nearest_units, unit_semantics

SEEDS = st.integers(0, 2**32 - 1)


def directions(rng: np.random.Generator, count: int, dimension: int = 5) -> np.ndarray:
    drawn = rng.normal(size=(count, dimension))
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


@given(SEEDS, st.integers(2, 12))
def test_clarity_is_the_mean_cosine_of_two_images(seed: int, count: int) -> None:
    points = directions(np.random.default_rng(seed), count)
    pairs = [one @ other for one, other in itertools.combinations(points, 2)]
    assert unit_semantics(points).clarity == pytest.approx(np.mean(pairs), abs=1e-12)


@given(SEEDS)
def test_two_meanings_are_found_wherever_they_are(seed: int) -> None:
    """Two bundles of directions, in any order: 1 less the cosine of their means."""
    rng = np.random.default_rng(seed)
    bundles = [np.repeat(directions(rng, 1), count, 0) for count in (5, 9)]
    points = np.concatenate(bundles) + rng.normal(size=(14, 5)) * 1e-3
    centres = [points[:5].mean(axis=0), points[5:].mean(axis=0)]
    expected = 1 - centres[0] @ centres[1] / math.prod(map(np.linalg.norm, centres))
    shuffled = points[rng.permutation(14)]
    assert unit_semantics(shuffled).polysemanticity == pytest.approx(expected, abs=1e-9)


def test_one_outlier_is_no_second_meaning() -> None:
    points = np.repeat(np.eye(4)[:1], 9, 0)
    points[3] = np.eye(4)[1]
    found = unit_semantics(points)
    assert found.polysemanticity == pytest.approx(1 - 3 / math.sqrt(10), abs=1e-9)
    assert unit_semantics(np.repeat(np.eye(4)[:1], 9, 0)).polysemanticity == pytest.approx(0)


def test_few_images_have_no_scores() -> None:
    assert math.isnan(unit_semantics(np.eye(3)[:1]).clarity)
    assert math.isnan(unit_semantics(np.eye(3)).polysemanticity)
    assert unit_semantics(np.eye(3)).clarity == pytest.approx(0)


@given(SEEDS, st.integers(2, 9))
def test_the_nearest_unit_is_that_of_the_highest_cosine(seed: int, units: int) -> None:
    rng = np.random.default_rng(seed)
    means = directions(rng, units) * rng.uniform(0.1, 1, (units, 1))
    found = nearest_units(means, np.ones(units, np.bool_))
    for unit in range(units):
        others = {
            other: means[unit] @ means[other] / math.prod(map(np.linalg.norm, means[[unit, other]]))
            for other in range(units)
            if other != unit
        }
        assert found.cosine[unit] == pytest.approx(max(others.values()), abs=1e-12)
        assert others[int(found.unit[unit])] == pytest.approx(max(others.values()), abs=1e-12)


def test_units_without_images_are_nobodys_nearest() -> None:
    found = nearest_units(np.array([[1.0, 0], [0, 1], [1, 1]]), np.array([True, True, False]))
    assert found.unit.tolist() == [1, 0, -1]
    assert found.cosine[:2].tolist() == [0, 0]
    alone = nearest_units(np.eye(2)[:1], np.array([True]))
    assert alone.unit.tolist() == [-1]
    assert math.isnan(alone.cosine[0])
