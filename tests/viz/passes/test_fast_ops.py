import pytest
import torch
import torch.nn.functional as F
from torch import nn

from viz.passes.fast_ops import QuickConvolutions


@pytest.mark.parametrize("side", [11, 12])
@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 3, "stride": 2, "padding": 1, "groups": 6},
        {"kernel_size": 5, "stride": 2, "padding": 0, "groups": 6},
        {"kernel_size": 3, "stride": 3, "padding": 2, "groups": 2, "dilation": 2},
        {"kernel_size": (3, 5), "stride": (2, 1), "padding": (1, 2), "groups": 3},
        {"kernel_size": 1, "stride": 2, "padding": 0, "groups": 6, "bias": False},
    ],
)
def test_the_gradient_is_that_of_the_plain_convolution(side, options, monkeypatch):
    layer = nn.Conv2d(6, 12, **options).requires_grad_(False).double()
    picture = torch.randn(2, 6, side, side, dtype=torch.float64, requires_grad=True)
    expected = layer(picture)
    slope = torch.randn_like(expected)
    (wanted,) = torch.autograd.grad(expected, picture, slope)
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda device: True)
    with QuickConvolutions():
        found = layer(picture)
    assert torch.allclose(found, expected)
    assert type(found.grad_fn).__name__.startswith("_StridedConvolution")
    (got,) = torch.autograd.grad(found, picture, slope)
    assert torch.allclose(got, wanted)


@pytest.mark.parametrize("side", [(11, 16), (12, 13)])
@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 7, "stride": 2, "padding": 3},
        {"kernel_size": 3, "stride": 2, "padding": 0, "bias": False},
        {"kernel_size": 4, "stride": 4},
        {"kernel_size": (3, 5), "stride": 3, "padding": (0, 2)},
    ],
)
def test_a_strided_convolution_of_a_picture_is_the_plain_one(side, options):
    layer = nn.Conv2d(3, 8, **options).requires_grad_(False).double()
    picture = torch.randn(2, 3, *side, dtype=torch.float64, requires_grad=True)
    expected = layer(picture)
    slope = torch.randn_like(expected)
    (wanted,) = torch.autograd.grad(expected, picture, slope)
    with QuickConvolutions():
        found = layer(picture)
    (got,) = torch.autograd.grad(found, picture, slope)
    assert torch.allclose(found, expected)
    assert torch.allclose(got, wanted)


def test_only_bfloat16_is_touched():
    layer = nn.Conv2d(4, 4, 3, stride=2, groups=4).requires_grad_(False)
    picture = torch.randn(1, 4, 9, 9, requires_grad=True)
    with QuickConvolutions():
        assert "Strided" not in type(layer(picture).grad_fn).__name__
        with torch.autocast("cpu", torch.bfloat16):
            found = layer(picture)
    assert "Strided" in type(found.grad_fn).__name__
    assert found.dtype == torch.bfloat16
    (slope,) = torch.autograd.grad(found.float().sum(), picture)
    (plain,) = torch.autograd.grad(F.conv2d(picture, layer.weight, stride=2, groups=4).sum(), picture)
    assert slope.dtype == torch.float32
    assert torch.allclose(slope, plain, atol=0.05)


def test_pooling_after_a_convolution_stays_channels_last():
    layer = nn.Conv2d(3, 4, 3).requires_grad_(False)
    planes = torch.randn(2, 3, 9, 9)
    with QuickConvolutions():
        found = layer(planes)
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert torch.allclose(found, layer(planes), atol=1e-6)


def test_padding_by_name_and_single_images_are_left_alone():
    same = nn.Conv2d(4, 4, 3, padding="same", groups=4).requires_grad_(False)
    picture = torch.randn(1, 4, 9, 9, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16), QuickConvolutions():
        assert same(picture).shape == picture.shape
        assert same(picture[0]).shape == picture[0].shape
