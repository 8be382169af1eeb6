"""What is climbed in: pictures as pixels, or as a decorrelated spectrum.

Each parametrisation is a pair of functions: a seeded start and the differentiable way to a picture
(image, channel, y, x) on 0..255. No function mixes images of a batch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

__all__ = [
    "blur",
    "enlarge",
    "frequencies",
    "noise",
    "spectrum_noise",
    "spectrum_to_picture",
    "to_bytes",
]

COLOUR_DIRECTIONS = ((0.26, 0.09, 0.02), (0.27, 0.0, -0.05), (0.27, -0.09, 0.03))
"""Square root of the covariance of natural images' colours (rows R, G, B), from Lucid."""

BLUR_REACH = 4.0
"""A Gaussian is cut off at this many standard deviations."""


def noise(
    generators: Sequence[Generator], shape: tuple[int, int, int], mean: float, deviation: float
) -> Tensor:
    """Independent Gaussian pixels, clipped to 0..255.

    Args:
        generators: one per image.
        shape: channel, y, x.
        mean: on 0..255.
        deviation: likewise.

    Returns:
        (image, channel, y, x) float32.
    """
    drawn = [torch.randn(shape, generator=generator) for generator in generators]
    return (mean + deviation * torch.stack(drawn)).clamp(0, 255)


def frequencies(height: int, width: int) -> Tensor:
    """Length of each frequency of a real FFT, in cycles per pixel: (height, width // 2 + 1)."""
    rows = torch.fft.fftfreq(height)[:, None]
    columns = torch.fft.rfftfreq(width)[None]
    return torch.hypot(rows, columns)


def spectrum_noise(
    generators: Sequence[Generator], shape: tuple[int, int, int], deviation: float
) -> Tensor:
    """The seeded start of a spectrum.

    Args:
        generators: one per image.
        shape: channel, y, x of the picture.
        deviation: of the coefficients, before they are scaled by frequency.

    Returns:
        (image, channel, y, x // 2 + 1, 2) float32; the last axis is real and imaginary.
    """
    channels, height, width = shape
    size = (channels, height, width // 2 + 1, 2)
    drawn = [torch.randn(size, generator=generator) for generator in generators]
    return deviation * torch.stack(drawn)


def spectrum_to_picture(spectrum: Tensor, height: int, width: int, decay: float = 1.0) -> Tensor:
    """Lucid's decorrelated parametrisation: scale by 1/frequency, invert, mix colours, squash.

    Args:
        spectrum: (image, channel, y, x // 2 + 1, 2); three channels are colour directions, one is
            lightness.
        height: of the picture, in pixels.
        width: likewise.
        decay: power of 1/frequency.

    Returns:
        (image, channel, height, width) on 0..255, differentiable.
    """
    scale = frequencies(height, width).clamp(min=1 / max(height, width)).pow(-decay)
    scaled = torch.view_as_complex(spectrum * scale.to(spectrum)[..., None])
    planes = torch.fft.irfft2(scaled, s=(height, width), norm="ortho") / 4
    return 255 * torch.sigmoid(_mix_colours(planes))


def _mix_colours(planes: Tensor) -> Tensor:
    if planes.shape[1] != 3:
        return planes
    directions = torch.tensor(COLOUR_DIRECTIONS, dtype=planes.dtype, device=planes.device)
    directions = directions / directions.norm(dim=0).max()
    first, second, third = planes.unbind(1)
    return torch.stack([a * first + b * second + c * third for a, b, c in directions], dim=1)


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


def to_bytes(pictures: Tensor) -> Tensor:
    """Round to the 8 bits that a PNG keeps: uint8 on the CPU."""
    return pictures.detach().round().clamp(0, 255).to("cpu", torch.uint8)
