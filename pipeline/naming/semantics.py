"""How clear, how mixed and how unique what a unit shows is, by embeddings of its strongest images.

Dreyer et al., "Mechanistic understanding and validation of large AI models with SemanticLens", Nature
Machine Intelligence 2025 (arXiv:2501.05398), section "Evaluating human interpretability". Embeddings
are scaled to length 1 first. With v the embeddings of a unit's n images and m their mean,

    clarity        = n / (n - 1) (|m|^2 - 1 / n), the mean cosine of two different images,
    polysemanticity = 1 - the cosine of the centres of two clusters of v,
    redundancy     = the highest cosine of m with that of another unit of the layer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Nearest", "UnitSemantics", "nearest_units", "unit_semantics"]

Floats = npt.NDArray[np.float64]

_ROUNDS = 100
"""Rounds of k-means at most; a few are enough for a hundred points."""

_SMALLEST = 2
"""Images in a cluster: one with fewer is an outlier, and no second meaning."""

_UNITS_AT_ONCE = 1024


@dataclass(frozen=True, slots=True)
class UnitSemantics:
    """What the embeddings of one unit's images say.

    Args:
        mean: (dimension,) float64, of length at most 1.
        clarity: mean cosine of two images; NaN with fewer than two.
        polysemanticity: from 0 to 2, of two clusters; NaN with fewer than four images.
    """

    mean: Floats
    clarity: float
    polysemanticity: float


@dataclass(frozen=True, slots=True)
class Nearest:
    """For each unit of a layer the one whose images are most alike.

    Args:
        unit: (unit,) int64, -1 where there is none.
        cosine: (unit,) float64, NaN where there is none.
    """

    unit: npt.NDArray[np.int64]
    cosine: Floats


def unit_semantics(embeddings: npt.NDArray[np.floating]) -> UnitSemantics:
    """Scores of one unit by itself.

    Args:
        embeddings: (image, dimension) of length 1, strongest image first.
    """
    points = embeddings.astype(np.float64)
    count = len(points)
    mean = points.mean(axis=0)
    clarity = (mean @ mean - 1 / count) * count / (count - 1) if count > 1 else np.nan
    mixed = np.nan
    if count >= 2 * _SMALLEST:
        first = _two_clusters(points)
        if min(first.sum(), count - first.sum()) < _SMALLEST:
            # The authors take random halves; those of every second image depend on no seed.
            first = np.arange(count) % 2 == 0
        mixed = 1 - _cosine(points[first].mean(axis=0), points[~first].mean(axis=0))
    return UnitSemantics(mean, float(clarity), float(mixed))


def nearest_units(means: Floats, counted: npt.NDArray[np.bool_]) -> Nearest:
    """The most similar other unit of each unit of a layer, the first of equal ones.

    Args:
        means: (unit, dimension) mean embeddings.
        counted: (unit,) which have images.
    """
    units = len(means)
    length = np.linalg.norm(means, axis=1, keepdims=True)
    scaled = np.divide(means, length, out=np.zeros_like(means), where=length > 0)
    found, cosine = np.full(units, -1), np.full(units, np.nan)
    if counted.sum() < 2:
        return Nearest(found, cosine)
    for start in range(0, units, _UNITS_AT_ONCE):
        rows = np.arange(start, min(start + _UNITS_AT_ONCE, units))
        similar = scaled[rows] @ scaled.T
        similar[np.arange(len(rows)), rows] = -np.inf
        similar[:, ~counted] = -np.inf
        found[rows] = similar.argmax(axis=1)
        cosine[rows] = similar.max(axis=1)
    found[~counted], cosine[~counted] = -1, np.nan
    return Nearest(found, np.clip(cosine, -1, 1))


def _two_clusters(points: Floats) -> npt.NDArray[np.bool_]:
    """Which points are in the first of two clusters: k-means from a split along the principal axis.

    Started there, it needs no random numbers, and depends on the set of points only.
    """
    centred = points - points.mean(axis=0)
    values, vectors = np.linalg.eigh(centred @ centred.T)
    along = vectors[:, -1] * np.sqrt(max(values[-1], 0))
    first: npt.NDArray[np.bool_] = along > 0
    for _ in range(_ROUNDS):
        if not first.any() or first.all():
            break
        centres = np.stack([points[first].mean(axis=0), points[~first].mean(axis=0)])
        distance = ((points[:, None] - centres) ** 2).sum(axis=2)
        again = distance[:, 0] < distance[:, 1]
        if (again == first).all():
            break
        first = again
    return first


def _cosine(one: Floats, other: Floats) -> float:
    product = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(one @ other) / product if product > 0 else 0.0
