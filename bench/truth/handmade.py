"""A judge by features that nobody trained: edges, colours and textures.

It knows no objects, but it shares nothing with a network: neither photographs, nor labels, nor an
architecture. The three groups of features each have length one, so that none outweighs the others.

- edges: histograms of oriented gradients (Dalal and Triggs 2005), 9 orientations in cells of 16 pixels.
- colours: a joint histogram of the three channels, 4 bins each; square roots, as for Hellinger's distance.
- textures: energies of Gabor filters at 4 frequencies and 4 orientations, mean and deviation over positions.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.signal import fftconvolve
from skimage.feature import hog
from skimage.filters import gabor_kernel
from torch import Tensor

from bench.truth.judge import Eye

SIDE = 128
"""Pixels to a side of the enlarged patch."""

CELL = 16
"""Pixels to a side of a cell of gradients."""

BINS = 4
"""Of a colour channel."""

FREQUENCIES = (0.05, 0.1, 0.2, 0.4)
"""Of the Gabor filters, in cycles per pixel."""

ORIENTATIONS = 4
"""Of the Gabor filters, over half a turn."""


def handmade() -> Eye:
    """The judge that `--judge handmade` names."""
    return Eye("handmade", "handmade-1", (SIDE, SIDE), describe)


def describe(patches: Tensor) -> Tensor:
    """Describe patches by edges, colours and textures.

    Args:
        patches: (patch, channel, y, x) uint8; one channel stands for three equal ones.

    Returns:
        (patch, feature) float32.
    """
    pictures = patches.permute(0, 2, 3, 1).numpy()
    return torch.from_numpy(np.stack([_describe(each) for each in pictures])).float()


def _describe(picture: NDArray[np.uint8]) -> NDArray[np.float64]:
    """(feature,) of one picture (y, x, channel)."""
    colours = picture if picture.shape[2] == 3 else np.repeat(picture[:, :, :1], 3, axis=2)
    grey = colours.mean(2) / 255
    edges = hog(grey, orientations=9, pixels_per_cell=(CELL, CELL), cells_per_block=(2, 2))
    parts = (edges, np.sqrt(_histogram(colours)), _energies(grey - grey.mean()))
    return np.concatenate([part / max(float(np.linalg.norm(part)), 1e-6) for part in parts])


def _histogram(colours: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Share of pixels in each cell of the colour cube."""
    levels = (colours.reshape(-1, 3).astype(np.int64) * BINS) // 256
    cells = (levels[:, 0] * BINS + levels[:, 1]) * BINS + levels[:, 2]
    return np.bincount(cells, minlength=BINS**3) / len(cells)


@cache
def _filters() -> tuple[NDArray[np.complex128], ...]:
    angles = [math.pi * number / ORIENTATIONS for number in range(ORIENTATIONS)]
    return tuple(gabor_kernel(frequency, theta) for frequency in FREQUENCIES for theta in angles)


def _energies(grey: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean and deviation of each filter's magnitude."""
    found = [np.abs(fftconvolve(grey, each, mode="same")) for each in _filters()]
    return np.array([[each.mean(), each.std()] for each in found]).ravel()
