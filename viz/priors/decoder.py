"""Networks that turn features back into images, and the critic that can help to train them."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["Critic", "Decoder"]

CODE_WIDTH = 160
"""Channels after the first layer; a third fewer, down to `LEAST_WIDTH`, at every doubling of the
side."""

LEAST_WIDTH = 40

SHUFFLE = 2
"""The last doubling is a rearrangement of channels, since convolutions at full size cost most."""

GROUPS = 8
"""Of the group normalisation."""


class _Doubling(nn.Module):
    """Twice the side: nearest neighbours, then two convolutions with a shortcut."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.shortcut = nn.Conv2d(inputs, outputs, 1)
        self.first = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.norm = nn.GroupNorm(GROUPS, outputs)
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1)

    def forward(self, values: Tensor) -> Tensor:
        """(image, inputs, y, x) to (image, outputs, 2 y, 2 x)."""
        large = F.interpolate(values, scale_factor=2.0, mode="nearest")
        changed = self.second(F.silu(self.norm(self.first(large))))
        result: Tensor = F.silu(self.shortcut(large) + changed)
        return result


class Decoder(nn.Module):
    """A small convolutional decoder.

    Args:
        units: channels of a code.
        grid: side of a code.
        size: side of an image, `grid` times a power of two, at least 2.
        channels: of an image.
    """

    def __init__(self, units: int, grid: int, size: int, channels: int) -> None:
        super().__init__()
        self.mean: Tensor
        self.deviation: Tensor
        self.register_buffer("mean", torch.zeros(units, grid, grid))
        self.register_buffer("deviation", torch.ones(units, grid, grid))
        width, side = CODE_WIDTH, grid
        layers: list[nn.Module] = [nn.Conv2d(units, width, 3, padding=1), nn.SiLU()]
        while side * SHUFFLE < size:
            narrower = max(LEAST_WIDTH, width * 2 // 3 // GROUPS * GROUPS)
            layers.append(_Doubling(width, narrower))
            width, side = narrower, side * 2
        layers.append(nn.Conv2d(width, channels * SHUFFLE**2, 3, padding=1))
        layers.append(nn.PixelShuffle(SHUFFLE))
        self.layers = nn.Sequential(*layers)

    def forward(self, codes: Tensor) -> Tensor:
        """Codes (image, unit, y, x) to images (image, channel, size, size) on 0..1."""
        images: Tensor = torch.sigmoid(self.layers((codes - self.mean) / self.deviation))
        return images


class Critic(nn.Module):
    """Scores patches of an image: high for what looks real (a PatchGAN's discriminator)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        widths = (channels, 32, 64, 96)
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            layers += [nn.Conv2d(inputs, outputs, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        layers.append(nn.Conv2d(widths[-1], 1, 3, padding=1))
        self.layers = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> Tensor:
        """Images (image, channel, y, x) on 0..1 to scores (image, 1, y', x')."""
        scores: Tensor = self.layers(2 * images - 1)
        return scores
