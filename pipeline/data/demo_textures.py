"""Procedural textures with known labels, of kinds that convolutional networks distinguish.

Each texture is a function `(rng, size) -> field` that returns a (y, x) float array in 0..1 with
random parameters such as angle, period and phase. `draw_texture` applies two random colours and
uneven lighting, so that the label determines only the pattern.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from pipeline.data.texture_fields import (
    Field,
    band_noise,
    filtered_noise,
    hexagon_offsets,
    nearest_distances,
    polar_grid,
    rotated_grid,
    smooth_noise,
    smooth_step,
    stretch_contrast,
)

__all__ = ["TEXTURES", "draw_texture"]

Texture = Callable[[np.random.Generator, int], Field]

MIN_CONTRAST = 0.35
"""Minimum difference in luminance (0..1) between the two colours of a texture."""

WOOD = (np.array([0.25, 0.13, 0.06]), np.array([0.83, 0.62, 0.38]))
"""Dark and bright brown, the colours of the texture `wood`."""

LUMINANCE = np.array([0.299, 0.587, 0.114])
"""Weights of red, green and blue (ITU-R BT.601)."""


def _grating(rng: np.random.Generator, size: int) -> Field:
    x, _ = rotated_grid(rng, size)
    return 0.5 + 0.5 * np.sin(2 * np.pi * x / rng.uniform(6, 40))


def _stripes(rng: np.random.Generator, size: int) -> Field:
    x, _ = rotated_grid(rng, size)
    period = rng.uniform(16, 44)
    x = x + period * 0.3 * smooth_noise(rng, size, 40)
    return smooth_step(np.sin(2 * np.pi * x / period) + rng.uniform(-0.3, 0.3), 0.4)


def _checks(rng: np.random.Generator, size: int) -> Field:
    x, y = rotated_grid(rng, size)
    period = rng.uniform(16, 70)
    return smooth_step(np.sin(2 * np.pi * x / period) * np.sin(2 * np.pi * y / period), 0.2)


def _plaid(rng: np.random.Generator, size: int) -> Field:
    x, y = rotated_grid(rng, size, max_angle=0.3)
    period = rng.uniform(30, 80)
    bands = [np.cos(2 * np.pi * axis / period) for axis in (x, y)]
    fine = [np.cos(10 * np.pi * axis / period) for axis in (x, y)]
    return stretch_contrast(sum(smooth_step(band, 0.3) for band in bands) + 0.3 * (fine[0] + fine[1]))


def _dots(rng: np.random.Generator, size: int) -> Field:
    pitch = rng.uniform(18, 60)
    dx, dy = hexagon_offsets(*rotated_grid(rng, size), pitch)
    return smooth_step(pitch * rng.uniform(0.2, 0.38) - np.hypot(dx, dy), 1.5)


def _honeycomb(rng: np.random.Generator, size: int) -> Field:
    pitch = rng.uniform(22, 60)
    dx, dy = hexagon_offsets(*rotated_grid(rng, size), pitch)
    sides = [np.abs(dx), np.abs(dx / 2 + dy * np.sqrt(3) / 2), np.abs(dx / 2 - dy * np.sqrt(3) / 2)]
    return smooth_step(pitch * 0.45 - np.maximum.reduce(sides), 1.5)


def _rings(rng: np.random.Generator, size: int) -> Field:
    radius, _ = polar_grid(rng, size)
    return smooth_step(np.sin(2 * np.pi * radius / rng.uniform(10, 44)), 0.5)


def _spiral(rng: np.random.Generator, size: int) -> Field:
    radius, angle = polar_grid(rng, size)
    arms = rng.integers(1, 5) * rng.choice([-1, 1])
    return smooth_step(np.sin(2 * np.pi * radius / rng.uniform(24, 60) + arms * angle), 0.5)


def _waves(rng: np.random.Generator, size: int) -> Field:
    x, y = rotated_grid(rng, size)
    period = rng.uniform(14, 36)
    bend = rng.uniform(0.3, 0.5) * period * np.sin(2 * np.pi * y / (period * rng.uniform(2, 4)))
    return smooth_step(np.sin(2 * np.pi * (x + bend) / period), 0.5)


def _noise(rng: np.random.Generator, size: int) -> Field:
    grain = rng.uniform(1, 4)
    return stretch_contrast(smooth_noise(rng, size, grain) if grain > 1.6 else rng.random((size, size)))


def _clouds(rng: np.random.Generator, size: int) -> Field:
    power = rng.uniform(1.6, 2.2)
    return stretch_contrast(
        filtered_noise(rng, size, lambda fx, fy: 1 / np.maximum(np.hypot(fx, fy), 1 / size) ** power)
    )


def _spots(rng: np.random.Generator, size: int) -> Field:
    return smooth_step(band_noise(rng, size, rng.uniform(18, 48)) - rng.uniform(0.5, 0.9), 0.3)


def _brick(rng: np.random.Generator, size: int) -> Field:
    x, y = rotated_grid(rng, size, max_angle=0.15)
    height = rng.uniform(18, 42)
    width, joint = height * rng.uniform(1.8, 2.6), height * rng.uniform(0.08, 0.14)
    row = np.floor(y / height)
    x = x + (row % 2) * width / 2
    edge = np.minimum(np.minimum(x % width, width - x % width), np.minimum(y % height, height - y % height))
    shade = np.sin(37.0 * row + 91.0 * np.floor(x / width)) * 0.12
    grain = 0.05 * smooth_noise(rng, size, 1.5)
    return np.clip(smooth_step(edge - joint / 2, 2) * (0.85 + shade + grain), 0, 1)


def _wood(rng: np.random.Generator, size: int) -> Field:
    x, y = rotated_grid(rng, size)
    bend = smooth_noise(rng, size, 50)
    rings = np.hypot(x + 12 * bend, 0.12 * y + 8 * bend) / rng.uniform(8, 22)
    fibre = filtered_noise(rng, size, lambda fx, fy: np.exp(-((fx * 4) ** 2) - (fy * 4) ** 2))
    return stretch_contrast((rings % 1) ** 1.5 + 0.12 * fibre)


def _cracks(rng: np.random.Generator, size: int) -> Field:
    first, second = nearest_distances(rng, size, int(rng.integers(18, 60)))
    return np.clip(smooth_step(second - first - rng.uniform(1.5, 4), 3), 0, 1)


def _bokeh(rng: np.random.Generator, size: int) -> Field:
    y, x = np.mgrid[:size, :size].astype(np.float64)
    light = 0.08 + 0.06 * smooth_noise(rng, size, 40)
    radius = rng.uniform(10, 30)
    for _ in range(int(rng.integers(14, 34))):
        py, px = rng.uniform(0, size, size=2)
        away = radius * rng.uniform(0.8, 1.2) - np.hypot(x - px, y - py)
        light = light + rng.uniform(0.15, 0.6) * smooth_step(away, 4)
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
"""Texture functions by label."""


def draw_texture(label: str, rng: np.random.Generator, size: int) -> NDArray[np.uint8]:
    """Draw one texture in two random colours with uneven lighting.

    Args:
        label: a name in `TEXTURES`.
        rng: source of all random parameters.
        size: pixels along each side.

    Returns:
        (y, x, channel) uint8 RGB.
    """
    field = TEXTURES[label](rng, size)
    dark, bright = WOOD if label == "wood" else _random_colours(rng)
    if label == "wood":
        dark, bright = (colour * rng.uniform(0.7, 1.1) for colour in (dark, bright))
    light = 1 + 0.1 * smooth_noise(rng, size, 60)
    colours = dark + (bright - dark) * field[..., None]
    return np.asarray(np.clip(colours * light[..., None], 0, 1) * 255 + 0.5, dtype=np.uint8)


def _random_colours(rng: np.random.Generator) -> tuple[Field, Field]:
    """Draw two RGB colours, the darker first, that differ by at least `MIN_CONTRAST`."""
    while True:
        pair = rng.random((2, 3))
        luminance = pair @ LUMINANCE
        if abs(luminance[0] - luminance[1]) >= MIN_CONTRAST:
            dark = int(luminance.argmin())
            return pair[dark], pair[1 - dark]
