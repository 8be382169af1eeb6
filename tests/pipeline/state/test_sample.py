"""The sample of images: hashes that stay the same, and strata by their definition."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.state import sample as module
from pipeline.state.sample import PER_STRATUM, STRATA_COUNT, PeakSample, image_hash, strata_rows


def plain_strata(peak: np.ndarray, edges: np.ndarray) -> list[tuple[int, int, int]]:
    """(unit, stratum, row) of the kept images: of each tenth the lowest hashes, which come first."""
    found = []
    for unit in range(peak.shape[1]):
        stratum = [int((value > edges[unit]).sum()) for value in peak[:, unit]]
        for number in range(STRATA_COUNT):
            rows = [row for row, each in enumerate(stratum) if each == number][:PER_STRATUM]
            found += [(unit, number, row) for row in sorted(rows, key=lambda row: (-peak[row, unit], row))]
    return found


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 60), st.integers(1, 5), st.integers(1, 6), st.integers(0, 1 << 30))
def test_strata_are_those_of_their_definition(images: int, units: int, at_once: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    peak = generator.integers(0, 12, (images, units)).astype(np.float32)
    edges = np.sort(generator.integers(0, 12, (units, STRATA_COUNT - 1)), axis=1).astype(np.float32)
    numbers = np.arange(images, dtype=np.int64)
    sample = PeakSample(numbers, numbers, peak, np.zeros(peak.shape, np.int32))
    whole, module._UNITS_AT_ONCE = module._UNITS_AT_ONCE, at_once
    try:
        found = strata_rows(sample, edges)
    finally:
        module._UNITS_AT_ONCE = whole
    assert [each.dtype for each in found] == [np.dtype(np.int32)] * 3
    assert list(zip(*(each.tolist() for each in found), strict=True)) == plain_strata(peak, edges)


def test_the_hash_of_an_image_is_the_same_in_every_version() -> None:
    # Parts on disk were sampled by it: with another hash they would not merge to a uniform sample.
    assert [image_hash("shard-000.tar", position) for position in (0, 1)] == [
        290702715340735847,
        2661723496150007117,
    ]
    assert image_hash("a", 11) != image_hash("a1", 1)


def test_a_sample_of_no_images_has_columns_of_every_unit() -> None:
    none = PeakSample.empty(3)
    shapes = [getattr(none, name).shape for name in PeakSample.__slots__]
    assert shapes == [(0,), (0,), (0, 3), (0, 3)]
    assert none.columns(slice(1, 3)).position.shape == (0, 2)
