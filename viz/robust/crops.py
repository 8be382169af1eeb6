"""Square crops of pictures at many scales, as the recipes show them to a network."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

__all__ = ["random_crops"]

LEAST_SHARE = 0.15
"""Side of the smallest crop, as a share of the picture's shorter side: patches of early layers."""


def random_crops(pictures: Tensor, size: tuple[int, int], generator: Generator) -> Tensor:
    """Cut a random square out of every picture, mirror half of them, and resize them.

    Args:
        pictures: (image, channel, y, x), uint8 or float on 0..255.
        size: rows and columns of the result.
        generator: decides the crops; their sides are uniform in their logarithm.

    Returns:
        (image, channel, *size) float on 0..255.
    """
    height, width = pictures.shape[2:]
    crops = []
    for picture in pictures.float():
        share, row, column, turn = torch.rand(4, generator=generator).tolist()
        side = max(1, round(min(height, width) * LEAST_SHARE ** (1 - share)))
        top, left = math.floor(row * (height - side + 1)), math.floor(column * (width - side + 1))
        crop = picture[:, top : top + side, left : left + side]
        crop = crop.flip(2) if turn < 0.5 else crop
        crops.append(F.interpolate(crop[None], size, mode="bicubic", antialias=True)[0])
    return torch.stack(crops).clamp(0, 255)
