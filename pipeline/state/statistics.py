"""Statistics of every unit's peaks: moments and histogram.

Each statistic has three operations: empty, update by a block of peaks (image, unit), and merge.
Counts and histograms merge exactly. Means merge in float64: the same grouping of images gives the
same bits, another grouping agrees to about 1e-12. Sums per label: `pipeline.state.label_sums`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

__all__ = [
    "BUCKETS",
    "MAX_INT16_IMAGES",
    "Counts",
    "Moments",
    "add_to_histogram",
    "block_moments",
    "bucket_bounds",
    "bucket_of",
    "column_spans",
    "count_type",
    "merge_moments",
    "quantiles",
]

_SUB_BITS = 5
"""Mantissa bits kept per bucket: 32 buckets an octave, so the middle of a bucket is within 1/64
(1.6 %) of every value in it."""

_LOWEST_EXPONENT = -16
_OCTAVES = 36
"""Magnitudes from 2**-16 (1.5e-5) to 2**20 (1e6) have buckets; smaller ones count as zero, larger
ones go into the last bucket, of which only the lower bound and the maximum are known."""

_PER_SIGN = _OCTAVES << _SUB_BITS
BUCKETS = 2 * _PER_SIGN + 1
"""Buckets per unit: negative, one for zero, positive; in rising order of value."""

MAX_INT16_IMAGES = (1 << 15) - 1
"""Images that a histogram of int16 can count."""

Counts = npt.NDArray[np.int64 | np.int32 | np.int16]
"""(unit, BUCKETS) or fewer columns, of the smallest type that can count the images."""

_UPDATED_UNITS = 4096
"""Units that are updated at once; the temporary arrays take 28 KB for each with 1,024 images."""

_RANKED_UNITS = 256
"""Units whose quantiles are found at once; the temporary arrays take 20 KB for each."""

_SHIFT = 23 - _SUB_BITS
_FIRST = (127 + _LOWEST_EXPONENT) << _SUB_BITS


def bucket_of(values: Tensor) -> Tensor:
    """The histogram bucket of each value.

    The exponent and the upper mantissa bits of a float32 approximate its logarithm, with equal
    steps inside each octave; reading them costs one shift and is exact on every machine.

    Args:
        values: float32, any shape, finite.

    Returns:
        int64 in 0..BUCKETS-1, the same shape.
    """
    bits = values.abs().contiguous().view(torch.int32)
    step = ((bits >> _SHIFT) - _FIRST + 1).clamp_(0, _PER_SIGN)
    return torch.where(values < 0, _PER_SIGN - step, _PER_SIGN + step).to(torch.int64)


def bucket_bounds() -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Lower and upper bound of every bucket, (BUCKETS,) float32 each."""
    steps = np.arange(_PER_SIGN + 1, dtype=np.int64) + _FIRST
    edges = (steps << _SHIFT).astype(np.int32).view(np.float32)
    lower = np.concatenate([-edges[:0:-1], [-edges[0]], edges[:-1]])
    upper = np.concatenate([-edges[-2::-1], [edges[0]], edges[1:]])
    return lower.astype(np.float32), upper.astype(np.float32)


def add_to_histogram(histogram: Tensor, block: Tensor) -> None:
    """Count a block of peaks into a histogram, in place.

    Args:
        histogram: (unit, BUCKETS) counts.
        block: (image, unit) float32, finite.
    """
    one = torch.ones((), dtype=histogram.dtype, device=block.device)
    for span in column_spans(block.shape[1]):
        counts = histogram[span]
        units = torch.arange(len(counts), device=block.device) * BUCKETS
        index = (bucket_of(block[:, span]) + units).flatten()
        counts.view(-1).index_add_(0, index, one.expand(index.shape))


def count_type(images: int) -> type[np.int64 | np.int32 | np.int16]:
    """The smallest type of a histogram of so many images."""
    if images <= MAX_INT16_IMAGES:
        return np.int16
    return np.int32 if images <= np.iinfo(np.int32).max else np.int64


def column_spans(units: int) -> Iterator[slice]:
    """Slices of at most 4096 units, which bound the temporary arrays of an update."""
    for first in range(0, units, _UPDATED_UNITS):
        yield slice(first, min(first + _UPDATED_UNITS, units))


def quantiles(
    histogram: Counts,
    levels: tuple[float, ...],
    low: npt.NDArray[np.float32],
    high: npt.NDArray[np.float32],
) -> npt.NDArray[np.float32]:
    """Quantiles estimated from a histogram, within 2 % of the value at that rank.

    Args:
        histogram: (unit, BUCKETS) counts.
        levels: in 0..1; level q is the value at rank ceil(q * images), counted from 1.
        low: (unit,) the exact minimum, which bounds the answer.
        high: (unit,) the exact maximum.

    Returns:
        (unit, level) float32; NaN for a unit that has seen no image.
    """
    lower, upper = bucket_bounds()
    middle = (lower.astype(np.float64) + upper) / 2
    answers = np.empty((histogram.shape[0], len(levels)), np.float32)
    for first in range(0, len(histogram), _RANKED_UNITS):
        span = slice(first, first + _RANKED_UNITS)
        cumulative = histogram[span].cumsum(axis=1, dtype=np.int64)
        total = cumulative[:, -1].copy()
        # Each unit's counts are put above those of the units before it: all of them rise together.
        above = np.cumsum(total + 1) - (total + 1)
        cumulative += above[:, None]
        starts = np.arange(len(total)) * BUCKETS
        for column, level in enumerate(levels):
            rank = np.maximum(np.ceil(level * total), 1).astype(np.int64)
            bucket = np.searchsorted(cumulative.reshape(-1), rank + above) - starts
            value = middle[np.where(total > 0, bucket, 0)]
            answers[span, column] = np.clip(value, low[span], high[span])
        answers[span][total == 0] = np.nan
    return answers


@dataclass(frozen=True, slots=True)
class Moments:
    """Count, mean, spread and range of every unit's peaks.

    Args:
        images: how many images were seen.
        mean: (unit,) float64.
        m2: (unit,) float64, the sum of squared distances from the mean.
        low: (unit,) float32, the minimum; +inf before the first image.
        high: (unit,) float32, the maximum; -inf before the first image.
        active: (unit,) int64, images whose peak is above zero.
    """

    images: int
    mean: npt.NDArray[np.float64]
    m2: npt.NDArray[np.float64]
    low: npt.NDArray[np.float32]
    high: npt.NDArray[np.float32]
    active: npt.NDArray[np.int64]

    @classmethod
    def empty(cls, units: int) -> Moments:
        """The identity of `merge_moments`."""
        return cls(
            0,
            np.zeros(units),
            np.zeros(units),
            np.full(units, np.inf, np.float32),
            np.full(units, -np.inf, np.float32),
            np.zeros(units, np.int64),
        )

    @property
    def constant(self) -> npt.NDArray[np.bool_]:
        """(unit,) whether the peak is the same in all images: such a unit is called dead."""
        same: npt.NDArray[np.bool_] = self.low == self.high
        return same


def block_moments(block: Tensor) -> Moments:
    """Moments of one block of peaks, (image, unit) float32, at least one image."""
    # Allocated first: arrays that stay between large ones that are freed would split their memory.
    units = block.shape[1]
    mean, m2 = block.new_empty((2, units), dtype=torch.float64)
    active = block.new_empty(units, dtype=torch.int64)
    for span in column_spans(units):
        columns = block[:, span]
        wide = columns.double()
        mean[span] = wide.mean(0)
        m2[span] = wide.sub_(mean[span]).square_().sum(0)
        active[span] = (columns > 0).sum(0)
    return Moments(
        block.shape[0],
        mean.cpu().numpy(),
        m2.cpu().numpy(),
        block.amin(0).cpu().numpy(),
        block.amax(0).cpu().numpy(),
        active.cpu().numpy(),
    )


def merge_moments(first: Moments, second: Moments) -> Moments:
    """Moments of the union of two disjoint sets of images (Chan, Golub and LeVeque 1979)."""
    images = first.images + second.images
    if not first.images or not second.images:
        return second if not first.images else first
    delta = second.mean - first.mean
    share = second.images / images
    return Moments(
        images,
        first.mean + delta * share,
        first.m2 + second.m2 + delta**2 * (first.images * share),
        np.minimum(first.low, second.low),
        np.maximum(first.high, second.high),
        first.active + second.active,
    )
