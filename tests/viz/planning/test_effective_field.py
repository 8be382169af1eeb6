"""The effective receptive field against a slow sum, and what narrowing keeps."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from pipeline.images.preprocess import Preprocess
from pipeline.layers.choose import choose_layers
from pipeline.layers.layer import Layer
from pipeline.networks.network import Network
from tests.fixtures.convnets import convnet, layer_of
from viz.objectives.objective import centre
from viz.planning.effective_field import effective_layer, narrowed


class Blurs(nn.Module):
    """Linear, so that the gradient is the kernel: the same for every picture and unit."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 5, padding=2, bias=False)
        self.second = nn.Conv2d(4, 6, 7, padding=3, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.first(x))


@pytest.fixture(scope="module")
def linear() -> Network:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        module = Blurs()
    return Network.from_module(module, Preprocess(32, 32, 32), name="blurs")


def pictures(side: int, count: int = 6) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (count, 3, side, side), generator=generator, dtype=torch.uint8)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8, 0.95, 1.0])
def test_the_field_is_the_smallest_square_with_the_share(linear, share):
    layer = choose_layers(linear, ["second"])[0]
    energy = torch.zeros(32, 32, dtype=torch.float64)
    shown, y = pictures(32), centre(layer.grid_h)
    for image in range(len(shown)):
        unit = (2 * image + 1) * layer.units // (2 * len(shown))
        leaf = shown[image : image + 1].double().requires_grad_()
        with torch.enable_grad():
            output = linear.module.double()(linear.normalise(leaf).double())[0, unit, y, y]
            (slope,) = torch.autograd.grad(output, leaf)
        square = slope[0].square().sum(0)
        energy += square / square.sum()
    linear.module.float()
    energy /= energy.sum()
    middle = y
    sides = [
        2 * radius + 1
        for radius in range(6)
        if energy[middle - radius : middle + radius + 1, middle - radius : middle + radius + 1].sum()
        >= share - 1e-9
    ]
    found = effective_layer(linear, layer, shown, min(share, 1 - 1e-9))
    assert found.rf_h == found.rf_w == sides[0]


@given(
    length=st.integers(1, 400),
    start=st.integers(-200, 50),
    stride=st.integers(1, 32),
    side=st.floats(0.5, 500),
    y=st.integers(0, 13),
)
def test_narrowing_keeps_the_centre_and_never_widens(length, start, stride, side, y):
    layer = Layer("l", 0, "map", 4, 0, 14, 14, length, length, stride, stride, start, start)
    small = narrowed(layer, side)
    before, after = layer.box(y, y), small.box(y, y)
    assert after.top + after.bottom == before.top + before.bottom
    assert before.top <= after.top
    assert min(length, side) <= after.bottom - after.top <= min(length, side + 2)


def test_a_layer_without_a_place_stays_as_it_is():
    network = convnet()
    head = layer_of(network, "head")
    assert effective_layer(network, head, pictures(48)) == head


def test_a_real_field_lies_in_the_receptive_field():
    network = convnet()
    late = layer_of(network, "late")
    found = effective_layer(network, late, pictures(48))
    assert 1 < found.rf_h < late.rf_h
