"""Combinations of channels: their deviations tell covariances, which those of channels alone do not."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from viz.ascent.mixtures import MOST, PER_CHANNEL, mix, mixing_matrix
from viz.ascent.moments import Moments


def maps(seed, units=3, side=24):
    return torch.randn(2, units, side, side, generator=torch.Generator().manual_seed(seed))


def even(values):
    return torch.full(values.shape[2:], 1 / values[0, 0].numel())


@given(st.integers(1, 200))
def test_there_are_some_for_each_channel_but_not_too_many(units):
    assert mixing_matrix(torch.ones(units)).shape == (min(PER_CHANNEL * units, MOST), units)


def test_they_are_the_same_each_time():
    deviation = torch.rand(12) + 0.1
    assert torch.equal(mixing_matrix(deviation), mixing_matrix(deviation))


def test_channels_weigh_alike_however_they_are_scaled():
    """All are above half the mean deviation, below which a channel does not gain weight."""
    values, scale = maps(0), torch.tensor([1.0, 1.5, 1.2])
    plain = mix(values, mixing_matrix(torch.ones(3)))
    scaled = mix(values * scale.view(1, 3, 1, 1), mixing_matrix(scale))
    assert torch.allclose(plain, scaled, atol=1e-5)


def test_a_channel_without_deviation_does_not_outweigh_the_others():
    mixing = mixing_matrix(torch.tensor([0.0, 1.0, 1.0]))
    alike = mixing_matrix(torch.ones(3))
    assert mixing[:, 0].abs().max() <= 3.01 * alike[:, 0].abs().max()
    assert mixing_matrix(torch.zeros(3)).isfinite().all()


@given(st.integers(0, 1000))
def test_deviations_are_those_that_the_covariance_matrix_gives(seed):
    values = maps(seed).double()
    mixing = mixing_matrix(torch.ones(3)).double()
    found = Moments.of(mix(values, mixing), even(values).double()).deviation
    for picture, deviations in zip(values, found, strict=True):
        covariance = torch.cov(picture.flatten(1), correction=0)
        wanted = (mixing @ covariance @ mixing.T).diagonal().sqrt()
        assert torch.allclose(deviations, wanted, atol=1e-4)


def test_they_tell_whether_channels_are_active_at_the_same_positions():
    values = maps(7)
    shifted = values.clone()
    shifted[:, 1] = values[:, 0]  # The same channel twice,
    apart = shifted.clone()
    apart[:, 1] = values[:, 0].flip(1)  # or the second time elsewhere.
    alone = [Moments.of(each, even(each)) for each in (shifted, apart)]
    mixing = mixing_matrix(torch.ones(3))
    mixed = [Moments.of(mix(each, mixing), even(each)) for each in (shifted, apart)]
    assert torch.allclose(alone[0].deviation, alone[1].deviation, atol=1e-5)
    assert (mixed[0].deviation - mixed[1].deviation).abs().max() > 0.1
