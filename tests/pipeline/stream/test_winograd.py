"""The quicker convolution against the direct one in float64."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pipeline.images.preprocess import Preprocess
from pipeline.layers.choose import choose_layers
from pipeline.networks.network import Network
from pipeline.stream import winograd
from pipeline.stream.compiled_probes import CompiledProbes, can_compile
from pipeline.stream.probes import Peaks, Probes
from pipeline.stream.winograd import MIN_CHANNELS, WinogradConv2d, use_winograd


def conv(channels: int = MIN_CHANNELS, units: int = MIN_CHANNELS, **options: object) -> nn.Conv2d:
    torch.manual_seed(0)
    options = {"kernel_size": 3, "padding": 1, **options}
    return nn.Conv2d(channels, units, **options).eval()  # type: ignore[arg-type]


@pytest.mark.parametrize(("height", "width"), [(8, 8), (7, 7), (5, 6), (1, 1)])
@pytest.mark.parametrize("bias", [True, False])
@torch.no_grad()
def test_it_is_as_exact_as_the_direct_sum(height: int, width: int, bias: bool) -> None:
    direct = conv(MIN_CHANNELS, MIN_CHANNELS + 3, bias=bias)
    images = torch.randn(2, MIN_CHANNELS, height, width)
    found = WinogradConv2d(direct)(images)
    exact = nn.functional.conv2d(
        images.double(), direct.weight.double(), None if not bias else direct.bias.double(), 1, 1
    )
    error = float((found - exact).abs().max() / exact.abs().max())
    assert found.shape == exact.shape
    assert found.stride(1) == 1
    assert error < 2e-6


@pytest.mark.parametrize(
    "options",
    [
        {"stride": 2},
        {"padding": 0},
        {"dilation": 2},
        {"groups": 2},
        {"kernel_size": 5},
        {"padding_mode": "reflect"},
        {"channels": MIN_CHANNELS - 1},
        {"units": MIN_CHANNELS - 1},
        {"dtype": torch.bfloat16},
    ],
    ids=str,
)
def test_other_convolutions_stay(options: dict[str, object]) -> None:
    network = nn.Sequential(conv(**options))  # type: ignore[arg-type]
    use_winograd(network)
    assert type(network[0]) is nn.Conv2d


def test_hooks_names_and_parameters_stay() -> None:
    network = nn.Sequential(nn.Identity(), nn.Sequential(conv()))
    weight = network[1][0].weight
    seen: list[torch.Size] = []
    network[1][0].register_forward_hook(lambda _, inputs, output: seen.append(output.shape))
    use_winograd(network)
    assert type(network[1][0]) is WinogradConv2d
    assert network[1][0].weight is weight
    network(torch.zeros(1, MIN_CHANNELS, 4, 4))
    assert seen == [(1, MIN_CHANNELS, 4, 4)]


@torch.no_grad()
def test_maps_that_would_take_too_much_memory_take_the_direct_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(winograd, "MAX_TRANSFORMED_BYTES", 0)
    direct = conv()
    images = torch.randn(1, MIN_CHANNELS, 6, 6)
    assert torch.equal(WinogradConv2d(direct)(images), direct(images))


@pytest.mark.slow
@pytest.mark.thorough
@pytest.mark.skipif(not can_compile("cpu"), reason="needs a C++ compiler")
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")
def test_a_compiled_network_shows_the_same_peaks() -> None:
    first = nn.Conv2d(3, MIN_CHANNELS, 3)
    module = nn.Sequential(first, nn.ReLU(), conv(), nn.BatchNorm2d(MIN_CHANNELS), nn.ReLU(True))
    network = Network.from_module(module.eval(), Preprocess(17, 15, 20), name="quick")
    layers = choose_layers(network, ("2", "3", "4"), receptive_fields=False)
    batch = torch.randn(4, 3, 17, 15)
    direct: list[Peaks] = []
    quick: list[Peaks] = []
    with Probes(network.module, layers, lambda _, peaks: direct.append(peaks)) as probes:
        probes(batch)
    CompiledProbes(network.module, layers, lambda _, peaks: quick.append(peaks), "max", 4)(batch)
    assert any(isinstance(child, WinogradConv2d) for child in network.module.modules())
    for wanted, found in zip(direct, quick, strict=True):
        torch.testing.assert_close(found.values, wanted.values, rtol=1e-5, atol=1e-5)
        units = torch.arange(MIN_CHANNELS)
        assert torch.equal(
            found.view[0, units].flatten(1).argmax(1), found.locate(torch.zeros_like(units), units)
        )
