"""Batch norms folded into convolutions: the same activations and gradients, or no folding."""

from __future__ import annotations

import gc
import weakref
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.fixtures.convnets import convnet
from viz.passes.fast_ops import QuickConvolutions
from viz.passes.folding import cached_folding, find_folding
from viz.passes.frozen import Folding

pytestmark = pytest.mark.slow


def norm(units: int) -> nn.BatchNorm2d:
    """With statistics and weights that do something."""
    layer = nn.BatchNorm2d(units)
    for values, low, high in (
        (layer.running_mean, -1, 1),
        (layer.running_var, 0.1, 2),
        (layer.weight, -2, 2),
        (layer.bias, -1, 1),
    ):
        nn.init.uniform_(values, low, high)
    return layer


class Around(nn.Module):
    """What a convolution gives is read by a batch norm and by something beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(3, 3, 1), norm(3)

    def forward(self, values: Tensor) -> Tensor:
        values = self.convolution(values)
        return values + self.norm(values)


class Again(nn.Module):
    """One convolution, or one batch norm, that runs twice."""

    def __init__(self, *, convolution: bool) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 3, 1), norm(3)
        self.second = self.first if convolution else nn.Conv2d(3, 3, 1)
        self.other = norm(3) if convolution else self.norm

    def forward(self, values: Tensor) -> Tensor:
        return self.other(self.second(self.norm(self.first(values))))


class Standardised(nn.Conv2d):
    """A kernel that is made anew in every pass."""

    def forward(self, values: Tensor) -> Tensor:
        kernel = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return F.conv2d(values, kernel, self.bias, self.stride, self.padding)


NETWORKS = {
    "plain": (lambda: nn.Sequential(nn.Conv2d(3, 5, 3, bias=False), norm(5), nn.ReLU(True)), 1),
    "bias": (lambda: nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1, groups=3), norm(6)), 1),
    "bare norm": (lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, affine=False), nn.ReLU()), 1),
    "two": (
        lambda: nn.Sequential(nn.Conv2d(3, 4, 3), norm(4), nn.ReLU(), nn.Conv2d(4, 4, 1), norm(4)),
        2,
    ),
    "norm first": (lambda: nn.Sequential(norm(3), nn.ReLU(), nn.Conv2d(3, 4, 3)), 0),
    "norm of its batch": (
        lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False)),
        0,
    ),
    "around": (Around, 0),
    "convolution again": (lambda: Again(convolution=True), 0),
    "norm again": (lambda: Again(convolution=False), 0),
    "standardised": (lambda: nn.Sequential(Standardised(3, 4, 3), norm(4)), 0),
}
"""How to make one, and how many batch norms can be folded."""


@pytest.mark.parametrize("name", NETWORKS)
def test_activations_and_gradients_stay(name: str) -> None:
    make, norms = NETWORKS[name]
    torch.manual_seed(0)
    module = make().eval().requires_grad_(False)
    pictures = torch.randn(2, 3, 9, 9, requires_grad=True)
    before = {key: value.clone() for key, value in module.state_dict().items()}
    folding = find_folding(module, lambda: [module(pictures)])
    assert len(folding.means) == norms
    expected = module(pictures)
    slope = torch.randn_like(expected)
    (wanted,) = torch.autograd.grad(expected, pictures, slope)
    for chosen in (folding, Folding()):
        with QuickConvolutions(chosen):
            found = module(pictures)
        (got,) = torch.autograd.grad(found, pictures, slope)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-5)
    assert all(torch.equal(before[key], value) for key, value in module.state_dict().items())


def test_a_convolution_that_is_looked_at_itself_is_not_folded() -> None:
    module = convnet().module
    module.norm.running_mean.fill_(0.5)
    seen: list[Tensor] = []
    handle = module.stem.register_forward_hook(lambda m, i, output: seen.append(output.clone()))

    def run() -> list[Tensor]:
        seen.clear()
        return [module(torch.ones(2, 3, 48, 48)), *seen]

    assert not find_folding(module, run).means
    handle.remove()
    assert len(find_folding(module, run).means) == 1


def test_a_folding_is_found_again_only_for_another_key_or_other_weights() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), norm(4)).eval().requires_grad_(False)
    pictures = torch.randn(2, 3, 9, 9)
    runs: list[Tensor] = []

    def find(key: object, dtype: torch.dtype = torch.float32) -> Folding:
        def run() -> list[Tensor]:
            runs.append(pictures)
            return [module(pictures)]

        return cached_folding(module, run, key=key, dtype=dtype)

    first = find("a layer")
    assert find("a layer") is first
    assert len(runs) == 2
    assert find("another") is not first
    assert len(runs) == 4
    module[0].weight.mul_(2)
    changed = find("another")
    assert len(runs) == 6
    with QuickConvolutions(changed):
        found = module(pictures)
    torch.testing.assert_close(found, module(pictures))
    (before,), (after,) = first.convolutions.values(), changed.convolutions.values()
    torch.testing.assert_close(after.weight, 2 * before.weight)
    assert find("another", torch.bfloat16).convolutions[module[0].weight].weight.dtype == torch.bfloat16


def test_a_folding_does_not_outlive_its_network() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), norm(4)).eval().requires_grad_(False)
    pictures = torch.randn(2, 3, 9, 9)
    run = partial(lambda module: [module(pictures)], module)
    (folded,) = cached_folding(module, run, key=None, dtype=torch.float32).convolutions.values()
    weak = weakref.ref(folded.weight)
    del module, run, folded
    gc.collect()
    assert weak() is None


def test_weights_are_cast_once() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), norm(4)).eval().requires_grad_(False)
    pictures = torch.randn(2, 3, 9, 9)
    folding = find_folding(module, lambda: [module(pictures)]).to(torch.bfloat16)
    (folded,) = folding.convolutions.values()
    assert folded.weight.dtype == folded.bias.dtype == torch.bfloat16
    with QuickConvolutions(folding), torch.autocast("cpu", torch.bfloat16):
        found = module(pictures)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), module(pictures), rtol=0.05, atol=0.05)
