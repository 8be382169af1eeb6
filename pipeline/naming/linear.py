"""A sparse sum of words' cosines that explains a unit's peaks: weights above zero, few words.

Forward selection as in `pipeline.naming.greedy`, which has the sums of whole datasets; here the cosines
of a unit's few images are at hand, and are made orthogonal to those of the words that were chosen
(modified Gram-Schmidt; Golub and Van Loan, Matrix Computations, section 5.2).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.naming.greedy import MAX_TERMS

__all__ = ["Sum", "explain_linearly", "pearson"]

Floats = npt.NDArray[np.float64]

_INDEPENDENT = 1e-6
"""Share of a word's variance that the words before it must leave; less is rounding, or a copy."""

_TRIES = 8
"""Words that are tried at a place, as some would give an earlier one a weight of zero or less."""


@dataclass(frozen=True, slots=True)
class Sum:
    """Words and their weights.

    Args:
        words: (term,) int64, in the order of their choice.
        weights: for each number of terms from 1, (term,) float64: by how much the peak rises with the
            word's cosine.
    """

    words: npt.NDArray[np.int64]
    weights: tuple[Floats, ...]


def pearson(scores: Floats, peaks: Floats) -> Floats:
    """Pearson's r of peaks with each column of scores; 0 where one of the two does not vary.

    Args:
        scores: (image, word).
        peaks: (image,).

    Returns:
        (word,) float64.
    """
    centred, rest = _centred(scores), _centred(peaks)
    products = np.sqrt((centred**2).sum(axis=0) * (rest**2).sum())
    found: Floats = np.divide(rest @ centred, products, out=np.zeros(scores.shape[1]), where=products > 0)
    return found


def explain_linearly(scores: Floats, peaks: Floats, least: float) -> Sum:
    """Choose words whose weighted sum explains peaks.

    Args:
        scores: (image, word) cosines.
        peaks: (image,).
        least: correlation, of the first word, and partial correlation of each further one, from which a
            word is taken.
    """
    centred, rest = _centred(scores), _centred(peaks)
    target = rest.copy()
    left = centred.copy()
    own = (centred**2).sum(axis=0)
    words: list[int] = []
    weights: list[Floats] = []
    while len(words) < min(MAX_TERMS, scores.shape[1]):
        free = (left**2).sum(axis=0)
        allowed = free > _INDEPENDENT * own
        gain = np.divide(rest @ left, np.sqrt(free), out=np.zeros(len(own)), where=allowed)
        found = _next(gain, centred, target, words, least * float(np.sqrt((rest**2).sum())))
        if found is None:
            break
        word, solved = found
        words.append(word)
        weights.append(solved)
        direction = np.asarray(left[:, word] / np.sqrt(free[word]), np.float64)
        share = float(direction @ rest)
        rest -= share * direction
        left -= np.outer(direction, direction @ left)
    return Sum(np.array(words, np.int64), tuple(weights))


def _next(
    gain: Floats, centred: Floats, target: Floats, words: list[int], enough: float
) -> tuple[int, Floats] | None:
    """The word that explains most of what is left, if all weights with it are above zero."""
    gain = gain.copy()
    for _ in range(_TRIES):
        best = int(gain.argmax())
        if gain[best] <= 0 or gain[best] < enough:
            return None
        chosen = centred[:, [*words, best]]
        solved = np.asarray(np.linalg.lstsq(chosen, target, rcond=None)[0], np.float64)
        if (solved > 0).all():
            return best, solved
        gain[best] = 0
    return None


def _centred(values: Floats) -> Floats:
    """Values less their mean over images; exactly 0 where they do not vary."""
    varies = values.max(axis=0) > values.min(axis=0)
    centred: Floats = np.where(varies, values - values.mean(axis=0), 0.0)
    return centred
