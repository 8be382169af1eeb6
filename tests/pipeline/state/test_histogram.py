"""Histograms in 16 bits count as plain counting does, however many images a bucket has."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.state import statistics as stats
from pipeline.state.histogram import CarriedCounts, Histogram
from tests.fixtures.whole_parts import add_counts

CPU = torch.device("cpu")


def plain_counts(peaks: torch.Tensor) -> np.ndarray:
    """(unit, BUCKETS) int64, one peak after another."""
    counts = np.zeros((peaks.shape[1], stats.BUCKETS), np.int64)
    for unit, column in enumerate(stats.bucket_of(peaks).T.tolist()):
        for bucket in column:
            counts[unit, bucket] += 1
    return counts


def histogram_of(peaks: torch.Tensor, sizes: list[int], most: int) -> stats.Counts | CarriedCounts:
    """The counts of peaks that come in blocks of these sizes."""
    histogram = Histogram(peaks.shape[1], CPU, most=most)
    for block in peaks.split(sizes):
        histogram.add(block)
        assert histogram._table.max() <= most
    return histogram.counts()


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=12),
    st.integers(1, 5),
    st.integers(2, 30),
    st.integers(1, 4),
    st.integers(0, 1 << 30),
)
def test_counts_are_those_of_plain_counting(
    sizes: list[int], units: int, most: int, values: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    peaks = torch.randint(-1, values, (sum(sizes), units), generator=generator).float()
    found = histogram_of(peaks, sizes, most)
    wanted = plain_counts(peaks)
    assert len(found) == units
    assert np.array_equal(found[:], wanted)
    for first in range(units):
        for last in range(first, units + 1):
            assert np.array_equal(found[first:last], wanted[first:last])
    both = add_counts(found, found, 2 * len(peaks))
    assert np.array_equal(both, 2 * wanted)
    if isinstance(found, CarriedCounts):
        assert found.table.max() <= most
        assert (np.diff(found.cell) > 0).all()


def test_a_bucket_may_have_more_images_than_int16_counts() -> None:
    images = 2 * stats.MAX_INT16_IMAGES + 5
    peaks = torch.zeros((images, 2))
    peaks[:, 1] = torch.arange(images) % 7
    found = histogram_of(peaks, [1024] * (images // 1024) + [images % 1024], stats.MAX_INT16_IMAGES)
    assert isinstance(found, CarriedCounts)
    assert found.table.dtype == np.int16
    assert found[:].dtype == np.int32
    assert found[0:1].max() == images
    buckets = stats.bucket_of(peaks[:, 1]).numpy()
    assert np.array_equal(found[1:2][0], np.bincount(buckets, minlength=stats.BUCKETS))
    assert len(found.cell) <= 2 * images // (stats.MAX_INT16_IMAGES // 2)


def test_few_images_stay_an_array() -> None:
    found = histogram_of(torch.ones((40, 3)), [40], stats.MAX_INT16_IMAGES)
    assert isinstance(found, np.ndarray)
    assert found.dtype == np.int16
