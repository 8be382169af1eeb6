"""Alignment: patches are aligned with themselves, weights by hand, views in a circle."""

from __future__ import annotations

import math

import pytest
import torch

from tests.fixtures.convnets import convnet, layer_of
from viz.ascent.alignment import Alignment, channel_weights
from viz.ascent.optimisers import Adam
from viz.ascent.random_views import RolledViews
from viz.ascent.view_maps import draw_rolls
from viz.canvas import whole_canvas
from viz.objectives.objective import point
from viz.passes.scorer import Scorer
from viz.passes.watch import Watch
from viz.recipes.catalog import get_recipe


@pytest.fixture(scope="module")
def network():
    return convnet()


def pictures(count, seed=0):
    return 255 * torch.rand((count, 3, 48, 48), generator=torch.Generator().manual_seed(seed))


def scored(network, shown, patches, relevance):
    """Scores and gradients of pictures that should be like patches, one list of them for each."""
    aligned, late = [layer_of(network, name) for name in ("stem", "middle")], layer_of(network, "late")
    canvas, objectives = whole_canvas(48, 48), [point(late, 2)] * len(shown)
    term = Alignment(late, aligned, canvas, patches, relevance)
    with Watch(network, [*aligned, late], canvas) as watch:
        scorer = Scorer(watch, extra=term)
        term.prepare(scorer, objectives)
        return term, *scorer.gradient(shown, objectives, 0)


@pytest.mark.parametrize("relevance", ["on", "off"])
def test_a_patch_is_aligned_with_itself_wherever_its_features_are(network, relevance):
    patches = pictures(2)
    _, scores, _ = scored(network, patches, [patches[:1], patches[1:]], relevance)
    assert scores.abs().max() < 1e-6
    _, other, slope = scored(network, patches, [patches[1:], patches[:1]], relevance)
    assert (other < -1e-4).all()
    assert (slope.flatten(1).norm(dim=1) > 0).all()


def test_the_score_is_the_weighted_squared_difference_of_sorted_features(network):
    shown, patches = pictures(2, 1), [pictures(3, 2), pictures(3, 3)]
    term, scores, _ = scored(network, shown, patches, "on")
    late = layer_of(network, "late")
    with Watch(network, [*term.layers, late], None) as watch, torch.no_grad():
        for image in range(2):
            by_hand = 0.0
            for layer in term.layers:
                own = watch(shown[image : image + 1], [layer.name])[layer.name].values[0]
                real = watch(patches[image], [layer.name])[layer.name].values
                weights = term._weights[image][layer.name].tolist()
                for unit in range(layer.units):
                    wanted = [
                        sum(each) / 3
                        for each in zip(*(sorted(r[unit].flatten().tolist()) for r in real), strict=True)
                    ]
                    found = sorted(own[unit].flatten().tolist())
                    square = sum((a - b) ** 2 for a, b in zip(found, wanted, strict=True)) / len(found)
                    by_hand -= weights[unit] * square / layer.units
            assert scores[image].item() == pytest.approx(by_hand, rel=1e-3)


def test_weights_are_shares_of_the_largest_contributions():
    maps = torch.tensor([[[[0.0, 4.0]], [[1.0, -9.0]], [[2.0, 2.0]]], [[[5.0, 5.0]]] * 3])
    maps[1] = 5.0
    assert torch.allclose(channel_weights(maps), torch.tensor([(1 + 1) / 2, (0 + 1) / 2, (1 / 3 + 1) / 2]))


def test_rolled_views_shift_in_a_circle_and_back():
    generators = [torch.Generator().manual_seed(seed) for seed in range(3)]
    shifts = draw_rolls(generators, 50, 4)
    assert shifts.shape == (50, 3, 2)
    assert (int(shifts.min()), int(shifts.max())) == (-4, 4)
    shown = pictures(2)
    seen = RolledViews(shifts).at_step(7, [2, 0])(shown)
    for place, image in enumerate((2, 0)):
        rows, columns = shifts[7, image].tolist()
        assert torch.equal(seen[place].roll((-rows, -columns), (1, 2)), shown[place])


def test_adam_stays_within_its_bounds_at_the_rate_of_each_step():
    adam = Adam([1.0, 300.0], moments=(0.5, 0.9), bounds=(0, 255))
    values = torch.full((1, 3), 100.0)
    values = adam.step(values, torch.tensor([[1.0, -1.0, 1.0]]), 0)
    assert torch.allclose(values, torch.tensor([[101.0, 99.0, 101.0]]))
    values = adam.step(values, torch.tensor([[1.0, -1.0, 1.0]]), 1)
    assert values.tolist() == [[255, 0, 255]]


def test_the_rate_rises_and_falls_along_a_cosine():
    rates = get_recipe("vital", {"steps": "110", "warm_up": "10", "rate": "2"}).rates
    assert len(rates) == 110
    assert rates[:11] == sorted(rates[:11])
    assert rates[10] == pytest.approx(2)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[60] == pytest.approx(1 + math.cos(math.pi * 0.5))
    assert len(get_recipe("vital", {"steps": "5"}).rates) == 5
