"""A few concepts whose weighted sum explains a unit's peaks, chosen one after another.

Forward selection by partial correlation, with all weights above zero: the first concept is the one with
the highest correlation, each next one explains most of what is left. All quantities come from counts
and sums (normal equations), for many units at once; the factor of Cholesky's decomposition grows by a
row with each concept (Golub and Van Loan, Matrix Computations, section 4.2).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.naming.correlation import ConceptCounts, Floats, PeakSums
from pipeline.naming.gram import Gram

__all__ = ["MAX_TERMS", "Fit", "fit_terms"]

MAX_TERMS = 5
"""Concepts of one unit, at most."""

_INDEPENDENT = 1e-6
"""Share of a concept's variance that the concepts before it must leave; less is rounding, or a copy."""

_TRIES = 8
"""Concepts that are tried at a rank, as some would give an earlier one a weight of zero or less."""


@dataclass(frozen=True, slots=True)
class Fit:
    """The chosen concepts of a span of units.

    Args:
        concept: (unit, term) int64 in the order of their choice, -1 where there is none.
        weight: (unit, rank, term) float64, the weights of the first `rank` + 1 concepts together.
    """

    concept: npt.NDArray[np.int64]
    weight: Floats


@dataclass(slots=True)
class _Progress:
    """Units that may still get a concept.

    Args:
        unit: (row,) int64, of each row.
        left: (row, concept) covariance of what is not yet explained with concepts.
        free: (row, concept) variance of concepts that those chosen do not share.
        rest: (row,) variance of the peaks that is not yet explained.
        factors: for each chosen concept (row, concept), its direction's product with all concepts.
        values: for each chosen concept (row,), its direction's product with the peaks.
    """

    unit: npt.NDArray[np.int64]
    left: Floats
    free: Floats
    rest: Floats
    factors: list[Floats]
    values: list[Floats]

    def keep(self, rows: npt.NDArray[np.bool_]) -> None:
        """Drop the units that get no further concept."""
        if rows.all():
            return
        self.unit = self.unit[rows]
        self.left, self.free, self.rest = self.left[rows], self.free[rows], self.rest[rows]
        self.factors = [factor[rows] for factor in self.factors]
        self.values = [value[rows] for value in self.values]


def fit_terms(peaks: PeakSums, counts: ConceptCounts, least: float) -> Fit:
    """Choose concepts for a span of units.

    Args:
        peaks: of the units, over the half of the images that chooses.
        counts: of the concepts in that half.
        least: correlation, of the first concept, and partial correlation of each further one, from
            which a concept is taken.
    """
    units, concepts = peaks.variance.shape[0], counts.own.shape[0]
    fit = Fit(np.full((units, MAX_TERMS), -1), np.zeros((units, MAX_TERMS, MAX_TERMS)))
    varies = peaks.variance > 0
    own = counts.gram.diagonal()
    state = _Progress(
        varies.nonzero()[0],
        np.ascontiguousarray(peaks.covariance.T[varies]),
        np.repeat(own[None], int(varies.sum()), axis=0),
        peaks.variance[varies],
        [],
        [],
    )
    for term in range(min(MAX_TERMS, concepts)):
        chosen, weights = _choose(state, own, fit, term, least)
        state.keep(chosen >= 0)
        taken = chosen[chosen >= 0]
        if not len(taken):
            break
        fit.concept[state.unit, term] = taken
        fit.weight[state.unit, term, : term + 1] = weights[chosen >= 0]
        if term + 1 < MAX_TERMS:
            _take(state, counts.gram, taken)
    return fit


def _choose(
    state: _Progress, own: Floats, fit: Fit, term: int, least: float
) -> tuple[npt.NDArray[np.int64], Floats]:
    """The next concept of each row, -1 for none, and the weights of all of the row's concepts with it."""
    chosen = np.full(len(state.unit), -1)
    weights = np.zeros((len(state.unit), term + 1))
    allowed = (state.free > _INDEPENDENT * own) & (state.left > 0)
    deviation = np.sqrt(np.maximum(state.free, 0))
    gain = np.divide(state.left, deviation, out=np.zeros_like(state.left), where=allowed)
    enough = least * np.sqrt(np.maximum(state.rest, 0))
    waiting = np.arange(len(state.unit))
    for _ in range(_TRIES):
        best = gain[waiting].argmax(axis=1)
        found = gain[waiting, best]
        good = (found >= enough[waiting]) & (found > 0)
        waiting, best = waiting[good], best[good]
        if not len(waiting):
            break
        solved = _weights(state, fit, waiting, best, term)
        positive = (solved > 0).all(axis=1)
        chosen[waiting[positive]] = best[positive]
        weights[waiting[positive]] = solved[positive]
        gain[waiting[~positive], best[~positive]] = 0
        waiting = waiting[~positive]
    return chosen, weights


def _weights(
    state: _Progress, fit: Fit, rows: npt.NDArray[np.int64], best: npt.NDArray[np.int64], term: int
) -> Floats:
    """(row, term + 1) the weights of least squares with one more concept in each row."""
    lower = np.zeros((len(rows), term + 1, term + 1))
    values = np.empty((len(rows), term + 1))
    for place in range(term + 1):
        concept = best if place == term else fit.concept[state.unit[rows], place]
        for earlier in range(min(place + 1, term)):
            lower[:, place, earlier] = state.factors[earlier][rows, concept]
    deviation = np.sqrt(state.free[rows, best])
    lower[:, term, term] = deviation
    for place in range(term):
        values[:, place] = state.values[place][rows]
    values[:, term] = state.left[rows, best] / deviation
    solved = np.linalg.solve(lower.transpose(0, 2, 1), values[..., None])
    return np.asarray(solved[..., 0], np.float64)


def _take(state: _Progress, gram: Gram, chosen: npt.NDArray[np.int64]) -> None:
    """Take the chosen concept of each row out of what is left."""
    rows = np.arange(len(chosen))
    factor = gram.rows(chosen)
    for earlier in state.factors:
        factor -= earlier * earlier[rows, chosen][:, None]
    deviation = np.sqrt(state.free[rows, chosen])
    factor = factor / deviation[:, None]
    value = state.left[rows, chosen] / deviation
    state.left -= factor * value[:, None]
    state.free = state.free - factor * factor
    state.rest = state.rest - value * value
    state.factors.append(factor)
    state.values.append(value)
