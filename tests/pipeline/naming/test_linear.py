"""Sums of words' scores against least squares written out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.naming import linear
from pipeline.naming.greedy import MAX_TERMS
from pipeline.naming.linear import explain_linearly, pearson

SEEDS = st.integers(0, 2**32 - 1)


def residual(scores: np.ndarray, target: np.ndarray) -> np.ndarray:
    """What least squares on the scores, with a constant, leaves of the target."""
    design = np.column_stack([np.ones(len(target)), scores])
    return target - design @ np.linalg.lstsq(design, target, rcond=None)[0]


def best_first(scores: np.ndarray, peaks: np.ndarray, least: float) -> list[int]:
    """Forward selection as it is defined: partial correlations anew for each step."""
    words: list[int] = []
    while len(words) < min(MAX_TERMS, scores.shape[1]):
        rest = residual(scores[:, words], peaks)
        partial = {}
        for word in {*range(scores.shape[1])} - {*words}:
            column = residual(scores[:, words], scores[:, word])
            partial[word] = rest @ column / np.sqrt((rest @ rest) * (column @ column))
        while partial:
            word = max(partial, key=lambda each: partial[each])
            if partial.pop(word) < least:
                return words
            design = np.column_stack([np.ones(len(peaks)), scores[:, [*words, word]]])
            if (np.linalg.lstsq(design, peaks, rcond=None)[0][1:] > 0).all():
                words.append(word)
                break
        else:
            return words
    return words


@given(SEEDS)
def test_words_and_weights_are_those_of_least_squares(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(30, 7))
    peaks = scores @ np.maximum(0, rng.normal(size=7)) + rng.normal(size=30)
    found = explain_linearly(scores, peaks, 0.2)
    assert found.words.tolist() == best_first(scores, peaks, 0.2)
    for terms, weights in enumerate(found.weights, start=1):
        design = np.column_stack([np.ones(30), scores[:, found.words[:terms]]])
        np.testing.assert_allclose(weights, np.linalg.lstsq(design, peaks, rcond=None)[0][1:], rtol=1e-6)
        assert (weights > 0).all()


@given(SEEDS)
def test_the_order_of_images_and_words_is_of_no_account(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores, peaks = rng.normal(size=(20, 6)), rng.normal(size=20)
    images, words = rng.permutation(20), rng.permutation(6)
    found = explain_linearly(scores, peaks, 0.1)
    again = explain_linearly(scores[images][:, words], peaks[images], 0.1)
    assert words[again.words].tolist() == found.words.tolist()


def test_pearson_is_that_of_numpy_and_zero_without_spread() -> None:
    rng = np.random.default_rng(3)
    scores, peaks = rng.normal(size=(40, 4)), rng.normal(size=40)
    expected = [np.corrcoef(scores[:, word], peaks)[0, 1] for word in range(4)]
    np.testing.assert_allclose(pearson(scores, peaks), expected, rtol=1e-12)
    scores[:, 2] = 0.1
    assert pearson(scores, peaks)[2] == 0
    assert (pearson(scores, np.full(40, 0.3)) == 0).all()


def test_a_copy_of_a_word_and_a_constant_are_no_further_terms() -> None:
    rng = np.random.default_rng(4)
    word = rng.normal(size=25)
    found = explain_linearly(np.column_stack([word, word, np.full(25, 0.5)]), 2 * word, 0.1)
    assert found.words.tolist() == [0]
    assert found.weights[0] == pytest.approx([2])
    assert explain_linearly(-word[:, None], word, 0.1).words.tolist() == []


def test_a_word_that_would_turn_another_weight_around_is_not_taken() -> None:
    """The second word explains most of what is left, but with it the weight of the first is below zero."""
    rng = np.random.default_rng(0)
    target = rng.normal(size=50)
    noise = rng.normal(size=50)
    scores = np.stack([target + noise, target + 2 * noise], axis=1)
    gain = np.array([0.0, 5.0])
    centred = scores - scores.mean(0)
    found = linear._next(gain, centred, target - target.mean(), [0], 1.0)
    solved = np.linalg.lstsq(centred, target - target.mean(), rcond=None)[0]
    assert (solved > 0).tolist() == [True, False]
    assert found is None
    assert gain.tolist() == [0.0, 5.0]
