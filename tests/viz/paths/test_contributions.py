"""Contributions against their definition on the whole input, and the windows they are computed in."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from pipeline.images.preprocess import Preprocess
from pipeline.layers.choose import choose_layers
from pipeline.layers.layer import Layer
from pipeline.networks.network import Network
from viz.objectives.objective import Objective, channel, point
from viz.paths.contributions import Contributions, layers_before
from viz.paths.windows import find_windows

SIDE = 48
NAMES = ("a", "b", "c", "d")


class Convolutions(nn.Module):
    """Four layers, of which the last sees 19 of 48 pixels; or all of them, if it is told."""

    def __init__(self, *, sees_all: bool) -> None:
        super().__init__()
        self.sees_all = sees_all
        self.a = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU6())
        self.b = nn.Sequential(nn.Conv2d(8, 10, 3, 1, 1), nn.ReLU())
        self.c = nn.Sequential(nn.Conv2d(10, 12, 3, 2, 1), nn.BatchNorm2d(12), nn.ReLU())
        self.d = nn.Conv2d(12, 9, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.c(self.b(self.a(x)))
        if self.sees_all:
            x = x * x.mean((2, 3), keepdim=True)
        return self.d(x)


def network(*, sees_all: bool = False) -> Network:
    torch.manual_seed(0)
    module = Convolutions(sees_all=sees_all)
    for norm in (module.a[1], module.c[1]):
        assert isinstance(norm, nn.BatchNorm2d)
        assert norm.running_mean is not None
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.uniform_(norm.running_mean, -0.5, 0.5)
    preprocess = Preprocess(SIDE, SIDE, SIDE, mean=(127.5,) * 3, std=(64.0,) * 3)
    return Network.from_module(module.eval(), preprocess, default_layers=NAMES)


def last_layer(net: Network) -> Layer:
    return choose_layers(net, NAMES)[-1]


def by_definition(net: Network, before: list[str], picture: Tensor, objective: Objective) -> list[Tensor]:
    """Gradient times activation of one picture on the whole input, summed over positions."""
    (term,) = objective.terms
    kept: list[Tensor] = []
    x = net.normalise(picture[None]).requires_grad_()
    for name in NAMES[:3]:
        x = getattr(net.module, name)(x)
        if name in before:
            kept.append(x)
    if net.module.sees_all:
        x = x * x.mean((2, 3), keepdim=True)
    plane = net.module.d(x)[0, term.unit]
    score = term.weight * (plane.mean() if term.kind == "channel" else plane[term.y, term.x])
    slopes = torch.autograd.grad(score, kept)
    return [(slope * each).sum((2, 3))[0].double() for slope, each in zip(slopes, kept, strict=True)]


@pytest.mark.parametrize("sees_all", [False, True])
def test_contributions_are_those_of_the_whole_input(sees_all: bool) -> None:
    net = network(sees_all=sees_all)
    layer = last_layer(net)
    compute = Contributions(net, layer)
    assert (compute.windows is None) == sees_all
    places = [(0, 0), (0, 6), (5, 5), (11, 11), (11, 2), (6, 9), (7, 0), (2, 3), (9, 11)]
    objectives = [point(layer, unit, y=y, x=x) for unit, (y, x) in enumerate(places)]
    pictures = torch.rand((len(places), 3, SIDE, SIDE), generator=torch.Generator().manual_seed(1)) * 255
    before = [each.name for each in compute.before]
    for chosen in (objectives, [-1 * each for each in objectives], [channel(layer, 3)] * len(places)):
        found = compute(pictures, chosen)
        for image, objective in enumerate(chosen):
            wanted = by_definition(net, before, pictures[image], objective)
            for values, expected in zip(found, wanted, strict=True):
                assert torch.allclose(values[image], expected, atol=1e-6, rtol=1e-4)


def test_a_picture_by_itself_has_the_same_contributions() -> None:
    net = network()
    layer = last_layer(net)
    compute, pictures = Contributions(net, layer), torch.full((3, 3, SIDE, SIDE), 90.0)
    pictures[1] += 50 * torch.rand(pictures.shape[1:], generator=torch.Generator().manual_seed(2))
    objectives = [point(layer, unit) for unit in range(3)]
    together, alone = compute(pictures, objectives), compute(pictures[1:2], objectives[1:2])
    for values, value in zip(together, alone, strict=True):
        assert torch.equal(values[1:2], value)


def test_windows_hold_every_field_at_one_size() -> None:
    layer = last_layer(network())
    windows = find_windows(network(), layer)
    assert windows is not None
    assert windows.height < SIDE
    for y in range(layer.grid_h):
        for x in range(layer.grid_w):
            window, field = windows.at(y, x), layer.box(y, x)
            assert (window.height, window.width) == (windows.height, windows.width)
            assert 0 <= window.top <= max(field.top, 0)
            assert window.top + window.height >= min(field.bottom, SIDE)
            assert window.left + window.width <= SIDE
            assert window.left % layer.stride_x == 0


def test_the_later_half_of_the_layers_is_compared() -> None:
    net = network()
    layers = choose_layers(net, NAMES)
    assert [each.name for each in layers_before(net, layers[3])] == ["b", "c"]
    assert [each.name for each in layers_before(net, layers[1])] == ["a"]
