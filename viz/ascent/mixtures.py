"""Random combinations of a layer's channels, whose statistics tell which channels are active together.

Means and deviations of channels alone do not say whether two channels are active at the same positions, for
instance whether edges are where the colour changes. The deviations of enough combinations determine all
covariances, which are the Gram matrices of texture synthesis (Gatys et al. 2015); the sorted values of
combinations are those of the sliced Wasserstein distance (Heitz et al. 2021, "A Sliced Wasserstein Loss for
Neural Texture Synthesis").
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor

__all__ = ["mix", "mixing_matrix"]

PER_CHANNEL = 2
"""Combinations for each channel."""

MOST = 128
"""Combinations of a layer at most: more cost time and tell little more."""

LEAST_SHARE = 0.5
"""Least deviation of a channel, as a share of the layer's mean deviation."""


def mixing_matrix(deviation: Tensor) -> Tensor:
    """(combination, unit): random directions of length one, in which all channels weigh alike.

    Args:
        deviation: (unit,) usual deviations of the channels over positions.
    """
    units = len(deviation)
    count = min(PER_CHANNEL * units, MOST)
    directions = torch.randn(count, units, generator=Generator().manual_seed(units))
    directions = directions / directions.norm(dim=1, keepdim=True)
    scale = deviation.clamp(min=max(LEAST_SHARE * float(deviation.mean()), torch.finfo(deviation.dtype).tiny))
    mixing: Tensor = directions.to(deviation) / scale
    return mixing


def mix(values: Tensor, mixing: Tensor) -> Tensor:
    """Combine the channels of maps.

    Args:
        values: (image, unit, y, x).
        mixing: (combination, unit).

    Returns:
        (image, combination, y, x).
    """
    mixed: Tensor = torch.einsum("cu,nuyx->ncyx", mixing, values)
    return mixed
