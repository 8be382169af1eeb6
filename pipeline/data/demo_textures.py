"""Procedural textures with known labels: what a convolutional network is known to tell apart.

Each texture is a function `(rng, size) -> field`, a (y, x) float array in 0..1, made of a few
random numbers: an angle, a period, a phase. `draw_texture` colours the field with two random
colours and lights it unevenly, so that a label fixes the pattern and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["TEXTURES", "draw_texture"]

Field: TypeAlias = NDArray[Any]
Texture = Callable[[np.random.Generator, int], Field]

MIN_CONTRAST = 0.35
"""Least difference in luminance (0..1) between the two colours of a texture."""

WOOD = (np.array([0.25, 0.13, 0.06]), np.array([0.83, 0.62, 0.38]))
"""Dark and bright brown: grain in other colours is nobody's idea of wood."""

LUMINANCE = np.array([0.299, 0.587, 0.114])
"""Weights of red, green and blue (ITU-R BT.601)."""


def _turned(rng: np.random.Generator, size: int, *, most: float = np.pi) -> tuple[Field, Field]:
    """Pixel coordinates (x, y) from the centre, turned by a random angle and shifted."""
    angle = rng.uniform(-most, most)
    y, x = np.mgrid[:size, :size] - size / 2 + rng.uniform(-size / 4, size / 4, size=(2, 1, 1))
    return x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)


def _centred(rng: np.random.Generator, size: int) -> tuple[Field, Field]:
    """Radius in pixels and angle around a point near the middle."""
    x, y = _turned(rng, size)
    return np.hypot(x, y), np.arctan2(y, x)


def _step(values: Field, width: float) -> Field:
    """0 below zero, 1 above it, with a ramp of that width instead of a jagged edge."""
    return np.clip(values / width + 0.5, 0, 1)


def _stretched(values: Field) -> Field:
    low, high = np.quantile(values, [0.01, 0.99])
    stretched: Field = np.clip((values - low) / (high - low + 1e-9), 0, 1)
    return stretched


def _filtered_noise(rng: np.random.Generator, size: int, gain: Callable[[Field, Field], Field]) -> Field:
    """White noise shaped in the frequency domain; zero mean, unit variance.

    Args:
        rng: gives the noise.
        size: pixels along each side.
        gain: of the frequencies (fx, fy), in cycles per pixel.
    """
    spectrum = np.fft.rfft2(rng.standard_normal((size, size)))
    fy, fx = np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None, :]
    values = np.fft.irfft2(spectrum * gain(fx, fy), s=(size, size))
    normal: Field = (values - values.mean()) / (values.std() + 1e-9)
    return normal


def _smooth_noise(rng: np.random.Generator, size: int, period: float) -> Field:
    """Noise that varies over about `period` pixels."""
    return _filtered_noise(rng, size, lambda fx, fy: np.exp(-(fx**2 + fy**2) * (2 * period) ** 2))


def _band_noise(rng: np.random.Generator, size: int, period: float) -> Field:
    """Noise whose bumps all have about the same size, as on many furs."""
    return _filtered_noise(rng, size, lambda fx, fy: np.exp(-(((np.hypot(fx, fy) * period - 1) / 0.22) ** 2)))


def _grating(rng: np.random.Generator, size: int) -> Field:
    x, _ = _turned(rng, size)
    return 0.5 + 0.5 * np.sin(2 * np.pi * x / rng.uniform(6, 40))


def _stripes(rng: np.random.Generator, size: int) -> Field:
    x, _ = _turned(rng, size)
    period = rng.uniform(16, 44)
    x = x + period * 0.3 * _smooth_noise(rng, size, 40)
    return _step(np.sin(2 * np.pi * x / period) + rng.uniform(-0.3, 0.3), 0.4)


def _checks(rng: np.random.Generator, size: int) -> Field:
    x, y = _turned(rng, size)
    period = rng.uniform(16, 70)
    return _step(np.sin(2 * np.pi * x / period) * np.sin(2 * np.pi * y / period), 0.2)


def _plaid(rng: np.random.Generator, size: int) -> Field:
    x, y = _turned(rng, size, most=0.3)
    period = rng.uniform(30, 80)
    bands = [np.cos(2 * np.pi * axis / period) for axis in (x, y)]
    fine = [np.cos(10 * np.pi * axis / period) for axis in (x, y)]
    return _stretched(sum(_step(band, 0.3) for band in bands) + 0.3 * (fine[0] + fine[1]))


def _cell(x: Field, y: Field, pitch: float) -> tuple[Field, Field]:
    """Offsets from the nearest point of a hexagonal lattice."""
    height = pitch * np.sqrt(3)
    pairs = []
    for shift in (0.0, 0.5):
        dx = (x / pitch - shift + 0.5) % 1 - 0.5
        dy = (y / height - shift + 0.5) % 1 - 0.5
        pairs.append((dx * pitch, dy * height))
    first = np.hypot(*pairs[0]) < np.hypot(*pairs[1])
    return np.where(first, pairs[0][0], pairs[1][0]), np.where(first, pairs[0][1], pairs[1][1])


def _dots(rng: np.random.Generator, size: int) -> Field:
    pitch = rng.uniform(18, 60)
    dx, dy = _cell(*_turned(rng, size), pitch)
    return _step(pitch * rng.uniform(0.2, 0.38) - np.hypot(dx, dy), 1.5)


def _honeycomb(rng: np.random.Generator, size: int) -> Field:
    pitch = rng.uniform(22, 60)
    dx, dy = _cell(*_turned(rng, size), pitch)
    sides = [np.abs(dx), np.abs(dx / 2 + dy * np.sqrt(3) / 2), np.abs(dx / 2 - dy * np.sqrt(3) / 2)]
    return _step(pitch * 0.45 - np.maximum.reduce(sides), 1.5)


def _rings(rng: np.random.Generator, size: int) -> Field:
    radius, _ = _centred(rng, size)
    return _step(np.sin(2 * np.pi * radius / rng.uniform(10, 44)), 0.5)


def _spiral(rng: np.random.Generator, size: int) -> Field:
    radius, angle = _centred(rng, size)
    arms = rng.integers(1, 5) * rng.choice([-1, 1])
    return _step(np.sin(2 * np.pi * radius / rng.uniform(24, 60) + arms * angle), 0.5)


def _waves(rng: np.random.Generator, size: int) -> Field:
    x, y = _turned(rng, size)
    period = rng.uniform(14, 36)
    bend = rng.uniform(0.3, 0.5) * period * np.sin(2 * np.pi * y / (period * rng.uniform(2, 4)))
    return _step(np.sin(2 * np.pi * (x + bend) / period), 0.5)


def _noise(rng: np.random.Generator, size: int) -> Field:
    grain = rng.uniform(1, 4)
    return _stretched(_smooth_noise(rng, size, grain) if grain > 1.6 else rng.random((size, size)))


def _clouds(rng: np.random.Generator, size: int) -> Field:
    power = rng.uniform(1.6, 2.2)
    return _stretched(
        _filtered_noise(rng, size, lambda fx, fy: 1 / np.maximum(np.hypot(fx, fy), 1 / size) ** power)
    )


def _spots(rng: np.random.Generator, size: int) -> Field:
    return _step(_band_noise(rng, size, rng.uniform(18, 48)) - rng.uniform(0.5, 0.9), 0.3)


def _brick(rng: np.random.Generator, size: int) -> Field:
    x, y = _turned(rng, size, most=0.15)
    height = rng.uniform(18, 42)
    width, joint = height * rng.uniform(1.8, 2.6), height * rng.uniform(0.08, 0.14)
    row = np.floor(y / height)
    x = x + (row % 2) * width / 2
    edge = np.minimum(np.minimum(x % width, width - x % width), np.minimum(y % height, height - y % height))
    shade = np.sin(37.0 * row + 91.0 * np.floor(x / width)) * 0.12
    grain = 0.05 * _smooth_noise(rng, size, 1.5)
    return np.clip(_step(edge - joint / 2, 2) * (0.85 + shade + grain), 0, 1)


def _wood(rng: np.random.Generator, size: int) -> Field:
    x, y = _turned(rng, size)
    bend = _smooth_noise(rng, size, 50)
    rings = np.hypot(x + 12 * bend, 0.12 * y + 8 * bend) / rng.uniform(8, 22)
    fibre = _filtered_noise(rng, size, lambda fx, fy: np.exp(-((fx * 4) ** 2) - (fy * 4) ** 2))
    return _stretched((rings % 1) ** 1.5 + 0.12 * fibre)


def _nearest_two(rng: np.random.Generator, size: int, points: int) -> tuple[Field, Field]:
    """Distances to the nearest and the second nearest of some random points, in pixels."""
    spread = rng.uniform(-0.1, 1.1, size=(points, 2)) * size
    y, x = np.mgrid[:size, :size].astype(np.float64)
    first, second = np.full((size, size), np.inf), np.full((size, size), np.inf)
    for py, px in spread:
        away = np.hypot(x - px, y - py)
        second = np.minimum(second, np.maximum(first, away))
        first = np.minimum(first, away)
    return first, second


def _cracks(rng: np.random.Generator, size: int) -> Field:
    first, second = _nearest_two(rng, size, int(rng.integers(18, 60)))
    return np.clip(_step(second - first - rng.uniform(1.5, 4), 3), 0, 1)


def _bokeh(rng: np.random.Generator, size: int) -> Field:
    y, x = np.mgrid[:size, :size].astype(np.float64)
    light = 0.08 + 0.06 * _smooth_noise(rng, size, 40)
    radius = rng.uniform(10, 30)
    for _ in range(int(rng.integers(14, 34))):
        py, px = rng.uniform(0, size, size=2)
        away = radius * rng.uniform(0.8, 1.2) - np.hypot(x - px, y - py)
        light = light + rng.uniform(0.15, 0.6) * _step(away, 4)
    return np.clip(light, 0, 1)


TEXTURES: dict[str, Texture] = {
    "bokeh": _bokeh,
    "brick pattern": _brick,
    "checks": _checks,
    "clouds": _clouds,
    "cracks": _cracks,
    "dots": _dots,
    "grating": _grating,
    "honeycomb": _honeycomb,
    "noise": _noise,
    "plaid": _plaid,
    "rings": _rings,
    "spiral": _spiral,
    "spots": _spots,
    "stripes": _stripes,
    "waves": _waves,
    "wood": _wood,
}
"""Label to texture."""


def draw_texture(label: str, rng: np.random.Generator, size: int) -> NDArray[np.uint8]:
    """Draw one texture in two random colours under uneven light.

    Args:
        label: a name in `TEXTURES`.
        rng: every random choice comes from it.
        size: pixels along each side.

    Returns:
        (y, x, channel) uint8 RGB.
    """
    field = TEXTURES[label](rng, size)
    dark, bright = WOOD if label == "wood" else _colours(rng)
    if label == "wood":
        dark, bright = (colour * rng.uniform(0.7, 1.1) for colour in (dark, bright))
    light = 1 + 0.1 * _smooth_noise(rng, size, 60)
    colours = dark + (bright - dark) * field[..., None]
    return np.asarray(np.clip(colours * light[..., None], 0, 1) * 255 + 0.5, dtype=np.uint8)


def _colours(rng: np.random.Generator) -> tuple[Field, Field]:
    """Two colours, the darker first, that differ enough in luminance."""
    while True:
        pair = rng.random((2, 3))
        luminance = pair @ LUMINANCE
        if abs(luminance[0] - luminance[1]) >= MIN_CONTRAST:
            dark = int(luminance.argmin())
            return pair[dark], pair[1 - dark]
