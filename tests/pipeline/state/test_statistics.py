"""Statistics against NumPy on the full matrix."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.state import statistics as stats
from pipeline.state.statistics import Moments


def matrix(seed: int = 0, images: int = 400, units: int = 6) -> np.ndarray:
    """Peaks of units that behave differently: dense, sparse, negative, constant, heavy-tailed."""
    generator = np.random.default_rng(seed)
    peaks = generator.normal(size=(images, units))
    peaks[:, 1] = np.maximum(peaks[:, 1], 0)
    peaks[:, 2] = -np.abs(peaks[:, 2]) - 0.5
    peaks[:, 3] = 6.0
    peaks[:, 4] = np.exp(3 * peaks[:, 4])
    peaks[:, 5] = 0.0
    return peaks.astype(np.float32)


def test_moments_of_blocks_merge_to_those_of_the_matrix() -> None:
    peaks = matrix()
    merged = Moments.empty(peaks.shape[1])
    for block in np.array_split(peaks, 7):
        merged = stats.merge_moments(merged, stats.block_moments(torch.from_numpy(block)))
    wide = peaks.astype(np.float64)
    assert merged.images == len(peaks)
    np.testing.assert_allclose(merged.mean, wide.mean(0), rtol=1e-12)
    np.testing.assert_allclose(merged.m2 / len(peaks), wide.var(0), rtol=1e-11, atol=1e-12)
    np.testing.assert_array_equal(merged.low, peaks.min(0))
    np.testing.assert_array_equal(merged.high, peaks.max(0))
    np.testing.assert_array_equal(merged.active, (peaks > 0).sum(0))


@given(st.lists(st.integers(1, 20), min_size=3, max_size=3), st.integers(0, 2**31))
def test_merging_moments_is_associative_and_commutative(sizes: list[int], seed: int) -> None:
    generator = np.random.default_rng(seed)
    a, b, c = (
        stats.block_moments(torch.from_numpy(generator.normal(3, 2, (n, 2)).astype(np.float32)))
        for n in sizes
    )
    merge = stats.merge_moments
    for other in (merge(a, merge(b, c)), merge(merge(c, b), a), merge(Moments.empty(2), c)):
        if other.images == sum(sizes):
            whole = merge(merge(a, b), c)
            np.testing.assert_allclose(other.mean, whole.mean, rtol=1e-12)
            np.testing.assert_allclose(other.m2, whole.m2, rtol=1e-12)
        else:
            assert other is c
            assert merge(c, Moments.empty(2)) is c


def test_of_no_images_there_are_no_moments() -> None:
    none = Moments.empty(2)
    assert none.images == 0
    fields = {"mean": (0.0, "f8"), "m2": (0.0, "f8"), "low": (np.inf, "f4"), "high": (-np.inf, "f4")}
    for name, (value, kind) in {**fields, "active": (0, "i8")}.items():
        found = getattr(none, name)
        assert found.dtype == np.dtype(kind)
        assert found.tolist() == [value, value]
    both = stats.merge_moments(none, Moments.empty(2))
    assert both.images == 0
    assert both.low.tolist() == none.low.tolist()


def test_a_column_far_from_zero_keeps_its_spread() -> None:
    peaks = torch.full((1000, 1), 4096.0)
    peaks[::2] += 0.5
    moments = stats.block_moments(peaks)
    assert moments.m2[0] / 1000 == pytest.approx(0.0625, rel=1e-12)


def test_every_value_lies_in_its_bucket() -> None:
    generator = torch.Generator().manual_seed(1)
    values = torch.randn(20_000, generator=generator) * 10 ** (
        torch.rand(20_000, generator=generator) * 8 - 4
    )
    values = torch.cat([values, torch.tensor([0.0, -0.0, 6.0, -6.0, 1.0, 2.0**-16, -(2.0**-16)])])
    bucket = stats.bucket_of(values).numpy()
    lower, upper = stats.bucket_bounds()
    assert (lower[1:] == upper[:-1]).all()
    inside = np.abs(values.numpy()) < 2**20
    low, high = lower[bucket], upper[bucket]
    value = values.numpy()
    positive = (value >= 0) & inside
    assert (low[positive] <= value[positive]).all()
    assert (value[positive] < high[positive]).all()
    negative = (value < 0) & inside
    assert (low[negative] <= value[negative]).all()
    assert (value[negative] <= high[negative]).all()


def test_the_outermost_buckets_take_what_is_beyond() -> None:
    lower, upper = stats.bucket_bounds()
    assert len(lower) == len(upper) == stats.BUCKETS
    assert (lower.dtype, upper.dtype) == (np.float32, np.float32)
    beyond = torch.tensor([-3e38, -(2.0**20), 2.0**20, 3e38])
    assert stats.bucket_of(beyond).tolist() == [0, 0, stats.BUCKETS - 1, stats.BUCKETS - 1]
    assert (lower[0], upper[-1]) == (-(2.0**20), 2.0**20)
    middle = stats.BUCKETS // 2
    assert stats.bucket_of(torch.tensor([0.0, 1e-6, -1e-6])).tolist() == [middle] * 3


@pytest.mark.parametrize("level", [0.0, 0.1, 0.5, 0.9, 0.99, 0.999, 1.0])
def test_quantiles_are_within_two_percent_of_the_sorted_value(level: float) -> None:
    peaks = matrix(images=5000)
    histogram = torch.zeros((peaks.shape[1], stats.BUCKETS), dtype=torch.int64)
    for block in np.array_split(peaks, 3):
        stats.add_to_histogram(histogram, torch.from_numpy(block))
    counts = histogram.numpy().astype(np.int64)
    assert (counts.sum(1) == len(peaks)).all()
    found = stats.quantiles(counts, (level,), peaks.min(0), peaks.max(0))[:, 0]
    rank = max(int(np.ceil(level * len(peaks))), 1) - 1
    np.testing.assert_allclose(found, np.sort(peaks, axis=0)[rank], rtol=0.02, atol=2**-16)


def test_quantiles_of_nothing_are_nan() -> None:
    none = np.zeros((1, stats.BUCKETS), np.int64)
    one = np.zeros(1, np.float32)
    assert np.isnan(stats.quantiles(none, (0.5,), one, one)).all()


def test_quantiles_of_many_units_are_the_buckets_of_their_sorted_peaks() -> None:
    generator = np.random.default_rng(5)
    units, images = 2 * stats._RANKED_UNITS + 3, 23
    peaks = generator.normal(size=(images, units)).astype(np.float32)
    # Of some units no image was counted, or one.
    counted = generator.choice([0, 1, images], units, p=[0.2, 0.2, 0.6])
    counts = np.zeros((units, stats.BUCKETS), np.int16)
    levels = (0.0, 0.04, 0.5, 0.9, 1.0)
    expected = np.full((units, len(levels)), np.nan, np.float32)
    lower, upper = (bound.astype(np.float64) for bound in stats.bucket_bounds())
    for unit, number in enumerate(counted):
        column = np.sort(peaks[:number, unit])
        bucket = stats.bucket_of(torch.from_numpy(column)).numpy()
        np.add.at(counts[unit], bucket, 1)
        for place, level in enumerate(levels if number else ()):
            rank = max(int(np.ceil(level * number)), 1) - 1
            middle = (lower[bucket[rank]] + upper[bucket[rank]]) / 2
            expected[unit, place] = np.clip(middle, column[0], column[-1])
    low = np.array([peaks[:number, unit].min(initial=np.inf) for unit, number in enumerate(counted)])
    high = np.array([peaks[:number, unit].max(initial=-np.inf) for unit, number in enumerate(counted)])
    found = stats.quantiles(counts, levels, low.astype(np.float32), high.astype(np.float32))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, expected)
