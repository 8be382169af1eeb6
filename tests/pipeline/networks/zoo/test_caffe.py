"""The networks of our own: shapes and sizes computed apart, LRN and ceil pooling in plain NumPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.networks.zoo import KNOWN
from pipeline.networks.zoo.caffe import Inception, Rectified

CONVOLUTIONS = {
    "vgg_s": [(96, 3, 7), (256, 96, 5), (512, 256, 3), (512, 512, 3), (512, 512, 3)],
    "vgg16_caffe": [
        (64, 3, 3),
        (64, 64, 3),
        (128, 64, 3),
        (128, 128, 3),
        (256, 128, 3),
        *[(256, 256, 3)] * 2,
        (512, 256, 3),
        *[(512, 512, 3)] * 5,
    ],
}
"""Filters, channels and kernel side, from the papers."""

CONNECTED = {
    "vgg_s": [(18432, 4096), (4096, 4096), (4096, 1000)],
    "vgg16_caffe": [(25088, 4096), (4096, 4096), (4096, 1000)],
}

GRIDS = {
    "vgg_s": {"conv1": 109, "pool1": 37, "conv2": 33, "pool2": 17, "conv5": 17, "pool5": 6},
    "vgg16_caffe": {"conv1_2": 224, "pool1": 112, "conv3_3": 56, "conv5_3": 14, "pool5": 7},
    "googlenet_caffe": {
        "conv1": 112,
        "pool1": 56,
        "pool2": 28,
        "inception_3b": 28,
        "inception_4a": 14,
        "pool4": 7,
        "inception_5b": 7,
    },
    "inception_v1": {"conv2d0": 112, "maxpool0": 56, "mixed3a": 28, "mixed4a": 14, "mixed5b": 7},
}
"""Rows of the grid for 224 pixels, with Caffe's rounding up."""

CHANNELS = {
    "googlenet_caffe": [256, 480, 512, 512, 512, 528, 832, 832, 1024],
    "inception_v1": [256, 480, 508, 512, 512, 528, 832, 832, 1024],
}
"""Of the nine inceptions, in order."""


def build(name: str) -> nn.Module:
    blueprint = KNOWN[name]()
    with torch.device("meta"):
        return blueprint.build(blueprint.preprocess).eval()


def count(name: str) -> int:
    return sum(parameter.numel() for parameter in build(name).parameters())


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_parameters_add_up_to_the_papers_layers(name: str) -> None:
    convolutions = sum(k * (c * side * side + 1) for k, c, side in CONVOLUTIONS[name])
    connected = sum(k * (c + 1) for c, k in CONNECTED[name])
    assert count(name) == convolutions + connected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("vgg_s", 102_908_520),
        ("vgg16_caffe", 138_357_544),
        ("googlenet_caffe", 6_998_552),
        ("inception_v1", 7_066_380),
        ("efficientnet_lite0", 4_652_008),
    ],
)
def test_parameters_in_all(name: str, expected: int) -> None:
    assert count(name) == expected


@pytest.mark.parametrize("name", GRIDS)
def test_grids(name: str) -> None:
    module, seen = build(name), {}
    for layer in GRIDS[name]:
        module.get_submodule(layer).register_forward_hook(
            lambda _m, _i, output, layer=layer: seen.update({layer: output.shape[2]})
        )
    output = module(torch.zeros(1, 3, 224, 224, device="meta"))
    assert seen == GRIDS[name]
    assert output.shape == (1, 1008 if name == "inception_v1" else 1000)


@pytest.mark.parametrize("name", CHANNELS)
def test_inceptions_have_the_published_channels(name: str) -> None:
    parts = [part for part in build(name).children() if isinstance(part, Inception)]
    channels = [
        sum(part.get_submodule(branch).out_channels for branch in ("1x1", "3x3", "5x5", "pool_proj"))
        for part in parts
    ]
    assert channels == CHANNELS[name]


def plain_lrn(grid: np.ndarray, size: int, alpha: float, beta: float, k: float) -> np.ndarray:
    """Krizhevsky et al. 2012, section 3.3, channel by channel, alpha per channel."""
    result = np.empty_like(grid)
    for channel in range(grid.shape[1]):
        first, last = max(0, channel - size // 2), min(grid.shape[1], channel + size // 2 + 1)
        squares = (grid[:, first:last] ** 2).sum(1)
        result[:, channel] = grid[:, channel] / (k + alpha * squares) ** beta
    return result


@pytest.mark.parametrize(
    ("name", "layer", "size", "alpha", "beta", "k"),
    [
        ("vgg_s", "norm1", 5, 5e-4 / 5, 0.75, 2.0),
        ("googlenet_caffe", "norm2", 5, 1e-4 / 5, 0.75, 1.0),
        ("inception_v1", "localresponsenorm0", 11, 1e-4, 0.5, 2.0),
    ],
)
def test_local_response_normalisation(
    name: str, layer: str, size: int, alpha: float, beta: float, k: float
) -> None:
    """Caffe divides alpha by the number of channels, TensorFlow does not."""
    grid = np.random.default_rng(0).normal(0, 60, (2, 16, 3, 4))
    result = build(name).get_submodule(layer)(torch.from_numpy(grid))
    np.testing.assert_allclose(result.numpy(), plain_lrn(grid, size, alpha, beta, k), rtol=1e-12)


def plain_ceil_pool(grid: np.ndarray, kernel: int, stride: int) -> np.ndarray:
    """Caffe's max pooling: the grid is rounded up, the last window may hang over the border."""
    rows, columns = (math.ceil((length - kernel) / stride) + 1 for length in grid.shape[2:])
    result = np.empty((*grid.shape[:2], rows, columns))
    for row in range(rows):
        for column in range(columns):
            top, left = row * stride, column * stride
            window = grid[:, :, top : top + kernel, left : left + kernel]
            result[:, :, row, column] = window.max((2, 3))
    return result


@pytest.mark.parametrize(
    ("name", "layer", "kernel", "stride"),
    [("vgg_s", "pool1", 3, 3), ("vgg_s", "pool2", 2, 2), ("googlenet_caffe", "pool1", 3, 2)],
)
@pytest.mark.parametrize("side", [7, 8, 9, 11])
def test_pooling_rounds_up(name: str, layer: str, kernel: int, stride: int, side: int) -> None:
    grid = np.random.default_rng(0).normal(size=(2, 3, side, side + 1))
    result = build(name).get_submodule(layer)(torch.from_numpy(grid))
    np.testing.assert_array_equal(result.numpy(), plain_ceil_pool(grid, kernel, stride))


def test_padding_of_the_same_kind_as_tensorflows() -> None:
    """`SAME` with stride 2 on an even side puts the odd row of zeros at the far side."""
    module = build("inception_v1")
    image = torch.arange(224.0).expand(1, 3, 224, 224)
    padded = module.get_submodule("pad")(image)
    assert padded.shape[2:] == (229, 229)
    assert (padded[0, 0, 2, 1], padded[0, 0, 2, 3], padded[0, 0, 2, 226]) == (0, 1, 0)


def test_a_rectified_convolution_shows_what_caffes_blob_holds() -> None:
    torch.manual_seed(0)
    part = Rectified(3, 4, 3)
    grid = torch.randn(1, 3, 5, 5)
    plain = nn.functional.conv2d(grid, part.weight, part.bias)
    assert torch.equal(part(grid), plain.clamp(min=0))
    assert plain.min() < 0


def test_input_of_caffes_networks() -> None:
    for name in ("vgg_s", "vgg16_caffe", "googlenet_caffe"):
        preprocess = KNOWN[name]().preprocess
        assert (preprocess.channels, preprocess.std) == ("bgr", (1.0, 1.0, 1.0))
        assert tuple(map(round, preprocess.mean)) == (104, 117, 124 if "16" in name else 123)
