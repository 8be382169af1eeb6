"""Histograms are of the smallest type that counts the images; what they count does not depend on it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pipeline.data.shard import Sample
from pipeline.layers.layer import Layer
from pipeline.state import statistics as stats
from pipeline.state.unit_state import UnitState
from pipeline.stream.accumulator import Accumulator
from pipeline.stream.probes import reduce_view
from tests.fixtures.whole_parts import merge_states

UNITS = 3
LAYER = Layer("fc", 0, "vector", UNITS, 0, 1, 1, 1, 1, 1, 1, 0, 0)


def state_of(images: int, first: int = 0) -> UnitState:
    """The state of images whose peaks are in few buckets, by batches of 32 and blocks of 64."""
    generator = torch.Generator().manual_seed(first)
    accumulator = Accumulator([LAYER], 4, torch.device("cpu"))
    for start in range(0, images, 32):
        numbers = range(start, min(start + 32, images))
        samples = [Sample(f"{first + n}", "a", first + n, first + n, b"", digest=n) for n in numbers]
        accumulator.begin(samples)
        peaks = torch.randint(0, 3, (len(samples), UNITS, 1, 1), generator=generator).float()
        accumulator.watch(0, reduce_view(peaks, "max"))
        accumulator.end()
        if start % 64 == 32:
            accumulator.flush()
    return accumulator.finish()


def test_counts_of_a_span_are_as_wide_as_the_images_need(monkeypatch: pytest.MonkeyPatch) -> None:
    narrow = state_of(300).histogram[:]
    assert narrow.dtype == np.int16
    monkeypatch.setattr(stats, "MAX_INT16_IMAGES", 100)
    wide = state_of(300).histogram[:]
    assert wide.dtype == np.int32
    assert np.array_equal(wide, narrow)
    assert (wide.sum(1) == 300).all()


def test_merging_widens(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = state_of(70), state_of(80, first=70)
    same = merge_states(first, second)
    assert same.histogram[:].dtype == np.int16
    monkeypatch.setattr(stats, "MAX_INT16_IMAGES", 100)
    wide = merge_states(first, second)
    assert wide.histogram[:].dtype == np.int32
    assert np.array_equal(wide.histogram[:], same.histogram[:])


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        (0, np.int16),
        ((1 << 15) - 1, np.int16),
        (1 << 15, np.int32),
        ((1 << 31) - 1, np.int32),
        (1 << 31, np.int64),
    ],
)
def test_the_type_counts_all_images(images: int, expected: type) -> None:
    assert stats.count_type(images) is expected
    assert np.iinfo(expected).max >= images
