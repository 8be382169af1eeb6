"""Edges: sorted differences between neighbouring pixels, at several scales."""

from __future__ import annotations

import numpy as np
import torch

from viz.ascent.edges import LEAST_SIDE, LEVELS, edge_statistics


def noise(height=37, width=29, seed=0):
    return 255 * torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(seed))


def test_they_are_the_sorted_differences_of_numpy():
    pictures = noise(33, 33)
    found = edge_statistics(pictures)[1].values
    grey = pictures.mean(1).numpy()
    across = np.sort(np.abs(np.diff(grey, axis=2)).reshape(2, -1), axis=1)
    down = np.sort(np.abs(np.diff(grey, axis=1)).reshape(2, -1), axis=1)
    shares = 33 * 32 // LEVELS
    for unit, ordered in enumerate((across, down)):
        wanted = ordered.reshape(2, LEVELS, shares).mean(2)
        assert np.allclose(found[:, unit], wanted, rtol=1e-5)


def test_scales_halve_until_the_picture_is_small():
    assert list(edge_statistics(noise(37, 64))) == [1, 2, 4]
    assert list(edge_statistics(noise(LEAST_SIDE, LEAST_SIDE))) == [1]
    assert edge_statistics(noise(LEAST_SIDE - 1, 40)) == {}


def test_directions_are_told_apart_and_order_of_positions_does_not_count():
    stripes = torch.zeros(1, 3, 32, 32)
    stripes[..., ::4] = 200
    found = edge_statistics(stripes)[1].values[0]
    assert found[0].max() > 100
    assert found[1].max() == 0
    turned = edge_statistics(stripes.transpose(2, 3))[1].values[0]
    assert torch.equal(turned, found.flip(0))
    assert torch.equal(edge_statistics(stripes.flip(2))[1].values[0], found)


def test_smooth_areas_with_one_edge_differ_from_weak_edges_everywhere():
    step = torch.zeros(1, 3, 32, 32)
    step[..., 16:] = 31
    ramp = torch.arange(32.0).expand(1, 3, 32, 32)
    one, everywhere = (edge_statistics(each)[1].values[0, 0] for each in (step, ramp))
    assert torch.isclose(one.mean(), everywhere.mean(), rtol=1e-4)
    assert (one[: LEVELS // 2] == 0).all()
    assert (everywhere == 1).all()


def test_every_pixel_has_a_gradient():
    pictures = noise().requires_grad_()
    torch.autograd.backward([each.values.square().sum() for each in edge_statistics(pictures).values()])
    assert (pictures.grad != 0).float().mean() > 0.9
