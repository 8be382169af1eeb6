"""Relevance: contributions against a network whose channels are scaled, weights against sums by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tests.fixtures.convnets import convnet, layer_of
from viz.ascent.moments import Moments
from viz.ascent.relevance import contribution_maps, mean_one, relevances
from viz.ascent.sorted_features import SortedFeatures
from viz.canvas import whole_canvas
from viz.objectives.objective import evaluate, point
from viz.passes.watch import Watch


@pytest.fixture(scope="module")
def network():
    return convnet()


def patches(network, count=3):
    shape = (count, *network.input_shape)
    return 255 * torch.rand(shape, generator=torch.Generator().manual_seed(1))


def contributions(*arguments):
    return {name: maps.sum((2, 3)) for name, maps in contribution_maps(*arguments).items()}


def scaled(channel: int, factor: float) -> Callable[..., Tensor]:
    def scale(module, inputs, output):
        factors = torch.ones(output.shape[1])
        factors[channel] = factor
        return output * factors.view(1, -1, 1, 1)

    return scale


def test_a_contribution_is_how_fast_the_objective_grows_with_a_channel(network):
    early, late = layer_of(network, "middle"), layer_of(network, "late")
    canvas, objective, pictures = whole_canvas(*network.input_shape[1:]), point(late, 2), patches(network)
    found = contributions(network, canvas, [early], pictures, objective)["middle"]
    module = dict(network.module.named_modules())[early.module]

    def scores(channel, factor):
        hook = module.register_forward_hook(scaled(channel, factor))
        with hook, torch.no_grad(), Watch(network, [late], None) as watch:
            return evaluate([objective] * len(pictures), watch(pictures))

    for channel in (0, 3):
        slope = (scores(channel, 1.01) - scores(channel, 0.99)) / 0.02
        assert torch.allclose(found[:, channel], slope, rtol=0.02, atol=2e-3)


def test_weights_are_the_positive_part_of_contributions_with_mean_one(network):
    layers = [layer_of(network, name) for name in ("stem", "middle", "late")]
    canvas, objective, pictures = (
        whole_canvas(*network.input_shape[1:]),
        point(layers[2], 2),
        patches(network),
    )
    weights = relevances(network, canvas, layers, pictures, objective)
    plain = contributions(network, canvas, layers[:2], pictures, objective)
    for name, values in plain.items():
        kept = [max(0.0, value) for row in values.tolist() for value in row]
        mean = sum(kept) / len(kept)
        units = values.shape[1]
        by_hand = [sum(kept[unit::units]) / len(values) / mean for unit in range(units)]
        assert weights[name].tolist() == pytest.approx(by_hand, rel=1e-4)
        assert weights[name].mean().item() == pytest.approx(1, rel=1e-5)
    assert torch.equal(weights["late"], torch.ones(layers[2].units))


def test_the_negative_objective_has_the_other_channels(network):
    early, late = layer_of(network, "middle"), layer_of(network, "late")
    canvas, pictures = whole_canvas(*network.input_shape[1:]), patches(network)
    up, down = (
        contributions(network, canvas, [early], pictures, each) for each in (point(late, 2), -point(late, 2))
    )
    assert torch.allclose(up["middle"], -down["middle"])


def test_no_relevance_at_all_counts_all_channels_alike():
    assert torch.equal(mean_one(torch.zeros(4)), torch.ones(4))
    assert torch.allclose(mean_one(torch.tensor([1.0, 3.0])), torch.tensor([0.5, 1.5]))


def test_weighted_distances_are_sums_by_hand():
    generator = torch.Generator().manual_seed(2)
    here, there, spread, relevance = (torch.rand(2, 3, generator=generator) + 0.5 for _ in range(4))
    level = torch.rand(2, 3, 4, generator=generator)
    wide = torch.rand(3, 4, generator=generator) + 0.5
    moments = Moments(here, there).distance(Moments(there, here), Moments(spread[0], spread[1]), relevance)
    ordered = SortedFeatures(level).distance(SortedFeatures(level.flip(0)), SortedFeatures(wide), relevance)
    for image in range(2):
        apart = [(here[image, unit] - there[image, unit]).item() ** 2 for unit in range(3)]
        by_hand = sum(
            relevance[image, unit].item()
            * apart[unit]
            * (1 / spread[0, unit] ** 2 + 1 / spread[1, unit] ** 2).item()
            for unit in range(3)
        )
        assert moments[image].item() == pytest.approx(by_hand / 3, rel=1e-5)
        squares = ((level[image] - level[1 - image]) / wide) ** 2
        weighted = [relevance[image, unit].item() * squares[unit].mean().item() for unit in range(3)]
        assert ordered[image].item() == pytest.approx(sum(weighted) / 3, rel=1e-5)


def test_moments_are_those_of_weighted_positions():
    values = torch.tensor([[[[1.0, 2.0], [3.0, 6.0]]]])
    weight = torch.tensor([[0.5, 0.25], [0.25, 0.0]])
    found = Moments.of(values, weight)
    assert found.mean.item() == pytest.approx(1.75)
    assert found.deviation.item() == pytest.approx(
        (0.5 * 0.75**2 + 0.25 * 0.25**2 + 0.25 * 1.25**2) ** 0.5, rel=1e-4
    )
