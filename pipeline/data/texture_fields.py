"""Building blocks of procedural textures: coordinates, noise and contrast functions.

A field is a (y, x) float array with one value for each pixel.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Field",
    "band_noise",
    "filtered_noise",
    "hexagon_offsets",
    "nearest_distances",
    "polar_grid",
    "rotated_grid",
    "smooth_noise",
    "smooth_step",
    "stretch_contrast",
]

Field: TypeAlias = NDArray[Any]


def rotated_grid(rng: np.random.Generator, size: int, *, max_angle: float = np.pi) -> tuple[Field, Field]:
    """Return pixel coordinates (x, y) around a random point near the centre, rotated by a random angle.

    Args:
        rng: source of the angle and the shift.
        size: pixels along each side.
        max_angle: maximum absolute value of the angle in radians.
    """
    angle = rng.uniform(-max_angle, max_angle)
    y, x = np.mgrid[:size, :size] - size / 2 + rng.uniform(-size / 4, size / 4, size=(2, 1, 1))
    return x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)


def polar_grid(rng: np.random.Generator, size: int) -> tuple[Field, Field]:
    """Return (radius in pixels, angle in radians) around a random point near the centre."""
    x, y = rotated_grid(rng, size)
    return np.hypot(x, y), np.arctan2(y, x)


def smooth_step(values: Field, width: float) -> Field:
    """Return 0 for negative values and 1 for positive ones, with a linear ramp of this width between."""
    return np.clip(values / width + 0.5, 0, 1)


def stretch_contrast(values: Field) -> Field:
    """Scale values to 0..1 so that 1 % are clipped at each end."""
    low, high = np.quantile(values, [0.01, 0.99])
    stretched: Field = np.clip((values - low) / (high - low + 1e-9), 0, 1)
    return stretched


def filtered_noise(rng: np.random.Generator, size: int, gain: Callable[[Field, Field], Field]) -> Field:
    """Filter white noise in the frequency domain; the result has zero mean and unit variance.

    Args:
        rng: source of the noise.
        size: pixels along each side.
        gain: function of the frequencies (fx, fy) in cycles per pixel.
    """
    spectrum = np.fft.rfft2(rng.standard_normal((size, size)))
    fy, fx = np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None, :]
    values = np.fft.irfft2(spectrum * gain(fx, fy), s=(size, size))
    normal: Field = (values - values.mean()) / (values.std() + 1e-9)
    return normal


def smooth_noise(rng: np.random.Generator, size: int, period: float) -> Field:
    """Return noise that varies over about `period` pixels."""
    return filtered_noise(rng, size, lambda fx, fy: np.exp(-(fx**2 + fy**2) * (2 * period) ** 2))


def band_noise(rng: np.random.Generator, size: int, period: float) -> Field:
    """Return noise with one dominant period in pixels, as in spotted fur."""
    return filtered_noise(rng, size, lambda fx, fy: np.exp(-(((np.hypot(fx, fy) * period - 1) / 0.22) ** 2)))


def hexagon_offsets(x: Field, y: Field, pitch: float) -> tuple[Field, Field]:
    """Return the offsets (dx, dy) of each pixel from the nearest point of a hexagonal lattice."""
    height = pitch * np.sqrt(3)
    pairs = []
    for shift in (0.0, 0.5):
        dx = (x / pitch - shift + 0.5) % 1 - 0.5
        dy = (y / height - shift + 0.5) % 1 - 0.5
        pairs.append((dx * pitch, dy * height))
    first = np.hypot(*pairs[0]) < np.hypot(*pairs[1])
    return np.where(first, pairs[0][0], pairs[1][0]), np.where(first, pairs[0][1], pairs[1][1])


def nearest_distances(rng: np.random.Generator, size: int, points: int) -> tuple[Field, Field]:
    """Return the distances in pixels to the nearest and the second nearest of `points` random points."""
    positions = rng.uniform(-0.1, 1.1, size=(points, 2)) * size
    y, x = np.mgrid[:size, :size].astype(np.float64)
    first, second = np.full((size, size), np.inf), np.full((size, size), np.inf)
    for py, px in positions:
        distance = np.hypot(x - px, y - py)
        second = np.minimum(second, np.maximum(first, distance))
        first = np.minimum(first, distance)
    return first, second
