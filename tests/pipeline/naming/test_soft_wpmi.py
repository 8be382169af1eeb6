"""Soft-WPMI against the paper's formula in plain Python, and its laws."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.naming.soft_wpmi import LONGEST, log_likelihood, soft_wpmi

SEEDS = st.integers(0, 2**32 - 1)


def published(scores: list[list[list[float]]], places: list[list[int]]) -> list[list[float]]:
    """(unit, word): the sums of the paper, for lists of one length."""
    words = range(len(scores[0][0]))
    found = []
    for unit, ranks in zip(scores, places, strict=True):
        row = []
        for word in words:
            total = 0.0
            for image, rank in zip(unit, ranks, strict=True):
                share = math.exp(10 * image[word]) / sum(math.exp(10 * image[each]) for each in words)
                inside = 0.998 - (rank - 1) / 100 * (0.998 - 0.97)
                total += math.log(1 + inside * (share - 1) + 1e-7)
            row.append(total)
        found.append(row)
    mean = [math.log(sum(math.exp(row[word]) for row in found) / len(found)) for word in words]
    return [[row[word] - mean[word] for word in words] for row in found]


def ranked(scores: list[np.ndarray], places: list[np.ndarray]) -> np.ndarray:
    likelihood = np.stack([log_likelihood(s, r) for s, r in zip(scores, places, strict=True)])
    return soft_wpmi(likelihood, np.array([len(r) for r in places]))


def test_it_is_the_published_formula() -> None:
    rng = np.random.default_rng(0)
    scores = rng.uniform(-1, 1, (4, 7, 5))
    places = [np.sort(rng.choice(100, 7, replace=False)) + 1 for _ in range(4)]
    expected = published(scores.tolist(), [place.tolist() for place in places])
    np.testing.assert_allclose(ranked(list(scores), places), expected, rtol=1e-9)


@given(SEEDS)
def test_the_order_of_images_words_and_units_is_of_no_account(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = [rng.uniform(-1, 1, (count, 6)) for count in rng.integers(1, 9, 5)]
    places = [rng.permutation(len(each)) + 1 for each in scores]
    before = ranked(scores, places)
    units, words = rng.permutation(5), rng.permutation(6)
    images = [rng.permutation(len(each)) for each in scores]
    again = ranked(
        [scores[unit][images[unit]][:, words] for unit in units],
        [places[unit][images[unit]] for unit in units],
    )
    np.testing.assert_allclose(again, before[units][:, words], rtol=1e-9, atol=1e-9)


@given(SEEDS)
def test_a_short_list_does_not_determine_how_frequent_words_are(seed: int) -> None:
    """A unit with every image twice is treated like the others."""
    rng = np.random.default_rng(seed)
    scores = list(rng.uniform(-1, 1, (3, 4, 6)))
    places = [np.arange(4) + 1] * 3
    twice = [np.concatenate([each, each]) for each in scores]
    same = ranked([*scores[:2], twice[2]], [*places[:2], np.tile(places[2], 2)])
    np.testing.assert_allclose(same, ranked(twice, [np.tile(p, 2) for p in places]), rtol=1e-9, atol=1e-9)


def test_images_after_the_hundredth_and_units_without_images_do_not_count() -> None:
    scores = np.random.default_rng(1).uniform(-1, 1, (3, 4))
    ranks = np.array([1, LONGEST, LONGEST + 1])
    np.testing.assert_array_equal(log_likelihood(scores, ranks), log_likelihood(scores[:2], ranks[:2]))
    likelihood = np.stack([log_likelihood(scores, ranks), log_likelihood(scores[:0], ranks[:0])])
    found = soft_wpmi(likelihood, np.array([2, 0]))
    assert np.isneginf(found[1]).all()
    np.testing.assert_allclose(found[0], 0, atol=1e-12)
    assert np.isneginf(soft_wpmi(likelihood, np.array([0, 0]))).all()


def test_cosines_that_are_far_apart_do_not_overflow() -> None:
    found = log_likelihood(np.array([[1000.0, -1000.0]]), np.array([1]))
    assert found == pytest.approx([math.log(1 + 1e-7), math.log(0.002 + 1e-7)])
