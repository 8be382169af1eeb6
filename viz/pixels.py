"""Operations on pictures (image, channel, y, x): blur, resize, denoise, to bytes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

__all__ = ["blur", "denoise", "enlarge", "noise", "shrink", "to_bytes"]

CHAMBOLLE_STEP = 0.25
"""Step of Chambolle's projection; the largest that converges in practice."""


BLUR_REACH = 4.0
"""A Gaussian is cut off at this many standard deviations."""


def noise(
    generators: Sequence[Generator],
    shape: tuple[int, int, int],
    mean: float,
    deviation: float,
    *,
    clip: bool = True,
) -> Tensor:
    """Independent Gaussian pixels.

    Args:
        generators: one per image.
        shape: channel, y, x.
        mean: on 0..255.
        deviation: likewise.
        clip: to 0..255.

    Returns:
        (image, channel, y, x) float32.
    """
    drawn = [torch.randn(shape, generator=generator) for generator in generators]
    pixels = mean + deviation * torch.stack(drawn)
    return pixels.clamp(0, 255) if clip else pixels


def blur(pictures: Tensor, sigma: float) -> Tensor:
    """Gaussian blur of every channel; borders are continued.

    Args:
        pictures: (image, channel, y, x).
        sigma: standard deviation in pixels; 0 leaves the pictures as they are.
    """
    if sigma <= 0:
        return pictures
    rows, columns = (_blur_matrix(side, sigma).to(pictures) for side in pictures.shape[2:])
    return rows @ pictures @ columns.T


def _blur_matrix(length: int, sigma: float) -> Tensor:
    """(length, length): what each pixel of a row becomes; quicker than a convolution."""
    radius = math.ceil(BLUR_REACH * sigma)
    offset = torch.arange(-radius, radius + 1)
    kernel = torch.exp(-0.5 * (offset / sigma) ** 2)
    places = (torch.arange(length)[:, None] + offset).clamp(0, length - 1)
    matrix = torch.zeros(length, length)
    return matrix.scatter_add_(1, places, (kernel / kernel.sum()).expand(length, -1))


def enlarge(pictures: Tensor, height: int, width: int) -> Tensor:
    """Resize by bicubic interpolation, clipped to 0..255."""
    if pictures.shape[2:] == (height, width):
        return pictures
    larger = F.interpolate(pictures, (height, width), mode="bicubic", align_corners=False)
    return larger.clamp(0, 255)


def shrink(pictures: Tensor, height: int, width: int) -> Tensor:
    """Resize by antialiased bilinear interpolation."""
    if pictures.shape[2:] == (height, width):
        return pictures
    return F.interpolate(pictures, (height, width), mode="bilinear", antialias=True)


def denoise(pictures: Tensor, weight: float, iterations: int = 5) -> Tensor:
    """Total-variation denoising by Chambolle's projection (2004), channel by channel.

    Args:
        pictures: (image, channel, y, x) on 0..255.
        weight: of the variation, on the same scale; 0 leaves the pictures as they are.
        iterations: of the projection.
    """
    if weight <= 0:
        return pictures
    down, right = torch.zeros_like(pictures), torch.zeros_like(pictures)
    for _ in range(iterations):
        rest = _divergence(down, right) - pictures / weight
        by_row = F.pad(rest.diff(dim=2), (0, 0, 0, 1))
        by_column = F.pad(rest.diff(dim=3), (0, 1))
        size = 1 + CHAMBOLLE_STEP * torch.hypot(by_row, by_column)
        down = (down + CHAMBOLLE_STEP * by_row) / size
        right = (right + CHAMBOLLE_STEP * by_column) / size
    return pictures - weight * _divergence(down, right)


def _divergence(down: Tensor, right: Tensor) -> Tensor:
    return down - F.pad(down, (0, 0, 1, 0))[:, :, :-1] + right - F.pad(right, (1, 0))[..., :-1]


def to_bytes(pictures: Tensor) -> Tensor:
    """Round to the 8 bits that a PNG keeps: uint8 on the CPU."""
    return pictures.detach().round().clamp(0, 255).to("cpu", torch.uint8)
