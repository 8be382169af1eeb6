"""Operations on pictures (image, channel, y, x): blur, resize, denoise, convert to bytes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

__all__ = ["blur", "denoise", "enlarge", "noise", "shrink", "to_bytes"]

CHAMBOLLE_STEP = 0.25
"""Step size of Chambolle's projection; the largest that converges in practice."""

BLUR_REACH = 4.0
"""Gaussian kernels are truncated at this many standard deviations."""


def noise(
    generators: Sequence[Generator],
    shape: tuple[int, int, int],
    mean: float,
    deviation: float,
    *,
    clip: bool = True,
) -> Tensor:
    """Draw independent Gaussian pixels.

    Args:
        generators: one per image.
        shape: (channel, y, x).
        mean: on 0..255.
        deviation: standard deviation, on 0..255.
        clip: whether to clip the pixels to 0..255.

    Returns:
        (image, channel, y, x) float32.
    """
    drawn = [torch.randn(shape, generator=generator) for generator in generators]
    pixels = mean + deviation * torch.stack(drawn)
    return pixels.clamp(0, 255) if clip else pixels


def blur(pictures: Tensor, sigma: float) -> Tensor:
    """Blur every channel with a Gaussian; borders are replicated.

    Args:
        pictures: (image, channel, y, x).
        sigma: standard deviation in pixels; 0 returns the pictures unchanged.
    """
    if sigma <= 0:
        return pictures
    rows, columns = (_blur_matrix(side, sigma).to(pictures) for side in pictures.shape[2:])
    return rows @ pictures @ columns.T


def _blur_matrix(length: int, sigma: float) -> Tensor:
    """Return the (length, length) matrix that blurs a row; faster than a convolution."""
    radius = math.ceil(BLUR_REACH * sigma)
    offset = torch.arange(-radius, radius + 1)
    kernel = torch.exp(-0.5 * (offset / sigma) ** 2)
    columns = (torch.arange(length)[:, None] + offset).clamp(0, length - 1)
    matrix = torch.zeros(length, length)
    return matrix.scatter_add_(1, columns, (kernel / kernel.sum()).expand(length, -1))


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
    """Reduce the total variation of every channel by Chambolle's projection (2004).

    Args:
        pictures: (image, channel, y, x) on 0..255.
        weight: of the total variation, on the same scale; 0 returns the pictures unchanged.
        iterations: number of projection steps.
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
    """Round to uint8, as in a PNG, on the CPU."""
    return pictures.detach().round().clamp(0, 255).to("cpu", torch.uint8)
