"""Which slots of lists tell images apart, by their definition."""

from __future__ import annotations

import numpy as np
import torch

from pipeline.state import statistics as stats
from pipeline.state.label_sums import LabelSums
from pipeline.state.sample import PeakSample
from pipeline.state.topk import NO_IMAGE, Ranked
from pipeline.state.unit_state import UnitState

K = 3

PEAKS = np.array(
    [
        [0, 0, 0, 0, 1, 2],  # 0: rectified, 0 in more images than a list has places
        [0, 0, 0, 1, 2, 3],  # 1: rectified, 0 in as many
        [5, 5, 5, 5, 5, 5],  # 2: constant
        [-1, -1, -1, -1, -1, 4],  # 3: the minimum is not 0, so which images have it does not matter
        [0, 1, 2, 3, 4, 5],  # 4
    ],
    np.float32,
).T


def ranked(scores: np.ndarray) -> Ranked:
    """The lists of (image, unit) scores."""
    order = np.argsort(-scores, axis=0, kind="stable")[:K]
    score = np.take_along_axis(scores, order, 0).T
    return Ranked(score, order.T.astype(np.int64), np.ones(score.shape, np.int32))


def test_only_peaks_that_tell_images_apart_are_listed() -> None:
    units = PEAKS.shape[1]
    moments = stats.block_moments(torch.from_numpy(PEAKS))
    histogram = np.zeros((units, stats.BUCKETS), np.int16)
    rest = LabelSums.empty(units), PeakSample.empty(units)
    state = UnitState(ranked(PEAKS), ranked(-PEAKS), moments, histogram, *rest).informative()
    high = [[2, 1], [3, 2, 1], [], [4], [5, 4, 3]]
    low = [[], [0, 0, 0], [], [-1, -1, -1], [0, 1, 2]]
    for unit in range(units):
        for side, sign, expected in ((state.high, 1, high), (state.low, -1, low)):
            listed = side.image_id[unit] != NO_IMAGE
            assert (sign * side.score[unit][listed]).tolist() == expected[unit]
            assert not listed[len(expected[unit]) :].any()
    assert moments.constant.tolist() == [False, False, True, False, False]
