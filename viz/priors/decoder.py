"""Decoders from features to images, and the critic for adversarial training."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["Critic", "Decoder"]

CODE_WIDTH = 160
"""Channels after the first layer; every doubling of the side reduces them by a third."""

MIN_WIDTH = 40
"""Minimum number of channels after a doubling."""

SHUFFLE = 2
"""Factor of the last upsampling, a pixel shuffle: convolutions at full size are the most expensive."""

GROUPS = 8
"""Groups of the group normalisation."""


class _UpsamplingBlock(nn.Module):
    """Nearest-neighbour upsampling by 2, then two convolutions with a shortcut."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.shortcut = nn.Conv2d(inputs, outputs, 1)
        self.first = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.norm = nn.GroupNorm(GROUPS, outputs)
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1)

    def forward(self, values: Tensor) -> Tensor:
        """Map (image, inputs, y, x) to (image, outputs, 2 y, 2 x)."""
        large = F.interpolate(values, scale_factor=2.0, mode="nearest")
        changed = self.second(F.silu(self.norm(self.first(large))))
        result: Tensor = F.silu(self.shortcut(large) + changed)
        return result


class Decoder(nn.Module):
    """A small convolutional decoder.

    Args:
        units: channels of a code.
        grid: side of a code.
        size: side of an image in pixels; `grid` times a power of two, at least 2.
        channels: channels of an image.
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
            outputs = max(MIN_WIDTH, width * 2 // 3 // GROUPS * GROUPS)
            layers.append(_UpsamplingBlock(width, outputs))
            width, side = outputs, side * 2
        layers.append(nn.Conv2d(width, channels * SHUFFLE**2, 3, padding=1))
        layers.append(nn.PixelShuffle(SHUFFLE))
        self.layers = nn.Sequential(*layers)

    def forward(self, codes: Tensor) -> Tensor:
        """Decode codes (image, unit, y, x) to images (image, channel, size, size) on 0..1."""
        images: Tensor = torch.sigmoid(self.layers((codes - self.mean) / self.deviation))
        return images


class Critic(nn.Module):
    """The discriminator of a PatchGAN: scores patches of an image, higher for real ones.

    Args:
        channels: channels of an image.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        widths = (channels, 32, 64, 96)
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            layers += [nn.Conv2d(inputs, outputs, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        layers.append(nn.Conv2d(widths[-1], 1, 3, padding=1))
        self.layers = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> Tensor:
        """Map images (image, channel, y, x) on 0..1 to scores (image, 1, y', x')."""
        scores: Tensor = self.layers(2 * images - 1)
        return scores
