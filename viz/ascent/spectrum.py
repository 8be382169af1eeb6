"""Pictures as spectra: decorrelated in space and colour, or of fixed magnitudes.

All functions work image by image; pictures are (image, channel, y, x) on 0..255.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Generator, Tensor

__all__ = [
    "colour_directions",
    "frequencies",
    "mean_magnitudes",
    "phases_to_picture",
    "picture_to_polar",
    "picture_to_spectrum",
    "polar_to_picture",
    "spectrum_noise",
    "spectrum_to_picture",
]

COLOUR_DIRECTIONS = ((0.26, 0.09, 0.02), (0.27, 0.0, -0.05), (0.27, -0.09, 0.03))
"""Square root of the covariance of natural images' colours (rows R, G, B), from Lucid."""


def frequencies(height: int, width: int) -> Tensor:
    """Length of each frequency of a real FFT, in cycles per pixel: (height, width // 2 + 1)."""
    rows = torch.fft.fftfreq(height)[:, None]
    columns = torch.fft.rfftfreq(width)[None]
    return torch.hypot(rows, columns)


def spectrum_noise(generators: Sequence[Generator], shape: tuple[int, int, int], deviation: float) -> Tensor:
    """Independent Gaussian coefficients of a spectrum.

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
    # With the factors of the transform and the 4 in it, that each would be a pass of its own, and
    # for both parts of a number, since a product along a row is quicker than one along a column.
    scale = _spectrum_scale(height, width, decay) / (4 * math.sqrt(height * width))
    scale = scale[..., None].repeat(1, 1, 2).to(spectrum)
    scaled = torch.view_as_complex(spectrum * scale)
    planes = torch.fft.irfft2(scaled, s=(height, width), norm="forward")
    return 255 * torch.sigmoid(_mix(planes, colour_directions()))


def picture_to_spectrum(pictures: Tensor, decay: float = 1.0) -> Tensor:
    """The spectrum that `spectrum_to_picture` makes these pictures of.

    Args:
        pictures: (image, channel, y, x) on 0..255; black and white are taken as almost so.
        decay: power of 1/frequency.
    """
    planes = _mix(torch.logit(pictures / 255, eps=1 / 255), torch.linalg.inv(colour_directions()))
    scaled = torch.fft.rfft2(4 * planes, norm="ortho")
    scale = _spectrum_scale(pictures.shape[2], pictures.shape[3], decay).to(pictures)
    spectrum: Tensor = torch.view_as_real(scaled / scale)
    return spectrum.contiguous()


def _spectrum_scale(height: int, width: int, decay: float) -> Tensor:
    return frequencies(height, width).clamp(min=1 / max(height, width)).pow(-decay)


def mean_magnitudes(pictures: Tensor) -> Tensor:
    """The mean magnitude of each frequency over pictures, in decorrelated colours.

    Args:
        pictures: (image, channel, y, x) on 0..255.

    Returns:
        (channel, y, x // 2 + 1); the entry of frequency 0 is the signed mean.
    """
    planes = _mix(pictures / 255 - 0.5, torch.linalg.inv(colour_directions()))
    spectra = torch.fft.rfft2(planes, norm="ortho")
    magnitudes: Tensor = spectra.abs().mean(0)
    magnitudes[:, 0, 0] = spectra[:, :, 0, 0].real.mean(0)
    return magnitudes


def phases_to_picture(phases: Tensor, magnitudes: Tensor, height: int, width: int) -> Tensor:
    """A picture of given magnitudes (Fel et al. 2023): only its phases are free.

    Args:
        phases: (image, channel, y, x // 2 + 1) in radians.
        magnitudes: (channel, y, x // 2 + 1), as `mean_magnitudes` gives them.
        height: of the picture, in pixels.
        width: likewise.

    Returns:
        (image, channel, height, width) on 0..255, differentiable.
    """
    free = torch.ones_like(magnitudes)
    free[:, 0, 0] = 0
    spectrum = torch.polar(torch.ones_like(phases), phases * free) * magnitudes
    planes: Tensor = torch.fft.irfft2(spectrum, s=(height, width), norm="ortho")
    return 255 * (_mix(planes, colour_directions()) + 0.5).clamp(0, 1)


def picture_to_polar(pictures: Tensor) -> tuple[Tensor, Tensor]:
    """The magnitudes and phases that `polar_to_picture` makes these pictures of.

    Args:
        pictures: (image, channel, y, x) on 0..255; black and white are taken as almost so.

    Returns:
        Magnitudes and phases in radians, both (image, channel, y, x // 2 + 1).
    """
    planes = _mix(torch.logit(pictures / 255, eps=1 / 255), torch.linalg.inv(colour_directions()))
    spectrum = torch.fft.rfft2(planes, norm="ortho")
    return spectrum.abs(), spectrum.angle()


def polar_to_picture(magnitudes: Tensor, phases: Tensor, height: int, width: int) -> Tensor:
    """Pictures from the magnitudes and phases of decorrelated colours, squashed by a sigmoid.

    Args:
        magnitudes: (image, channel, y, x // 2 + 1).
        phases: likewise, in radians.
        height: of the picture, in pixels.
        width: likewise.

    Returns:
        (image, channel, height, width) on 0..255, differentiable.
    """
    planes: Tensor = torch.fft.irfft2(torch.polar(magnitudes, phases), s=(height, width), norm="ortho")
    return 255 * torch.sigmoid(_mix(planes, colour_directions()))


def colour_directions() -> Tensor:
    """(3, 3) `COLOUR_DIRECTIONS` over their largest column."""
    directions = torch.tensor(COLOUR_DIRECTIONS)
    scaled: Tensor = directions / directions.norm(dim=0).max()
    return scaled


def _mix(planes: Tensor, matrix: Tensor) -> Tensor:
    """Multiply colours by a matrix; a single channel stays as it is."""
    if planes.shape[1] != 3:
        return planes
    first, second, third = planes.unbind(1)
    mixed = [torch.add(torch.add(a * first, second, alpha=b), third, alpha=c) for a, b, c in matrix.tolist()]
    return torch.stack(mixed, dim=1)
