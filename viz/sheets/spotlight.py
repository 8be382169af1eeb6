"""Show on a photograph where a unit is active: a contour around the region, and the rest dimmed."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from pipeline.images.preprocess import Box, Preprocess
from viz.sheets.palette import ACCENT

__all__ = ["spotlight"]

CONTOUR = 0.5
"""The contour is where the map has this share of the way from its lowest value, or 0, to its highest."""

DIMMED = 0.38
"""Brightness that remains far below the contour."""

SOFTNESS = 0.25
"""Share of the map's range over which brightness falls, below the contour."""

LINE = 1.5
"""Half the width of the contour, in pixels."""

Map = npt.NDArray[np.float32]


def spotlight(photograph: Image.Image, activations: Map, preprocess: Preprocess) -> Image.Image:
    """Dim a photograph where a unit is not active.

    The map is enlarged smoothly over the part of the photograph that the network saw; what it did not see
    is dimmed as well.

    Args:
        photograph: RGB, upright; of any size with the original's aspect ratio.
        activations: (y, x) float32, of one unit over the grid of its layer.
        preprocess: from the photograph to the network's input.

    Returns:
        An RGB image of the same size.
    """
    width, height = photograph.size
    share = np.zeros((height, width), np.float32)
    area = preprocess.to_original(Box(0, 0, preprocess.width, preprocess.height), width, height)
    left, top = max(0, round(area.left)), max(0, round(area.top))
    right, bottom = min(width, round(area.right)), min(height, round(area.bottom))
    if right > left and bottom > top:
        enlarged = Image.fromarray(_normalised(activations)).resize(
            (right - left, bottom - top), Image.Resampling.BICUBIC
        )
        share[top:bottom, left:right] = np.asarray(enlarged).clip(0, 1)
    light = DIMMED + (1 - DIMMED) * ((share - CONTOUR + SOFTNESS) / SOFTNESS).clip(0, 1)
    pixels = np.asarray(photograph, np.float32) * light[..., None]
    line = _contour(share)[..., None]
    drawn = pixels * (1 - line) + np.array(ACCENT, np.float32) * line
    return Image.fromarray(drawn.round().clip(0, 255).astype(np.uint8))


def _normalised(activations: Map) -> Map:
    """The map from 0, at its lowest value or at 0, to 1 at its highest; all 0 for a flat one."""
    low, high = float(activations.min()), float(activations.max())
    if high > 0:
        low = max(low, 0.0)
    if not high > low:
        return np.zeros_like(activations, np.float32)
    found: Map = ((activations - low) / (high - low)).clip(0, 1).astype(np.float32)
    return found


def _contour(share: Map) -> Map:
    """(y, x) opacity 0..1 of the line where the share is `CONTOUR`: the distance from it by the slope."""
    if min(share.shape) < 2:
        return np.zeros_like(share)
    down, across = np.gradient(share)
    slope = np.hypot(down, across)
    distance = np.abs(share - CONTOUR) / np.maximum(slope, 1e-6)
    found: Map = (LINE + 0.5 - distance).clip(0, 1)
    return found
