"""How strong the edges of pictures are, at several scales: sorted differences between neighbouring pixels.

Photographs have few strong edges between smooth areas (Field 1987, "Relations between the statistics of
natural images and the response properties of cortical cells"); pictures made by gradient ascent have weak
edges everywhere. The distribution of the differences tells the two apart, and its mean is a measure of
contrast.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from viz.ascent.sorted_features import SortedFeatures

__all__ = ["edge_statistics"]

LEVELS = 32
"""Means of equal shares of the sorted differences."""

LEAST_SIDE = 8
"""Pixels to a side of the smallest scale."""


def edge_statistics(pictures: Tensor) -> dict[int, SortedFeatures]:
    """Sort the absolute differences between neighbouring pixels, and average equal shares of them.

    Args:
        pictures: (image, channel, y, x) of any size; their channels are averaged.

    Returns:
        By scale, 1 for the pixels as they are, 2 for means of 2 x 2 and so on: horizontal and vertical
        differences as two units, ascending.
    """
    grey = pictures.float().mean(1, keepdim=True)
    found, scale = {}, 1
    while min(grey.shape[2:]) >= LEAST_SIDE:
        across = grey[:, :, :, 1:] - grey[:, :, :, :-1]
        down = grey[:, :, 1:] - grey[:, :, :-1]
        found[scale] = SortedFeatures(torch.cat([_shares(each) for each in (across, down)], 1))
        grey, scale = F.avg_pool2d(grey, 2), 2 * scale
    return found


def _shares(differences: Tensor) -> Tensor:
    """(image, 1, level)."""
    ordered = differences.abs().flatten(2).sort(dim=2).values
    return F.adaptive_avg_pool1d(ordered, LEVELS)
