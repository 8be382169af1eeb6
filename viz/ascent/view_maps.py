"""Random maps from what the network is shown to pictures: shifts, scales, rotations and crops.

An affine map takes the pixels of the window that the network is shown to the canvas, so that jitter,
scale, rotation and crop are a single interpolation. Pixels are counted from the centre of either.
What is outside the canvas is grey.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

__all__ = [
    "GREY",
    "crop_offsets",
    "draw_affine",
    "draw_boxes",
    "draw_crops",
    "draw_rolls",
    "reach",
    "sample",
]

SMALLEST_CROP = 0.05
"""Share of the picture's side below which no crop goes."""

GREY = 127.5
"""What surrounds the canvas, on the scale 0..255."""


def draw_affine(
    generators: Sequence[Generator],
    steps: int,
    *,
    jitter: tuple[int, int],
    scale: tuple[float, float, float],
    rotate: int,
    rotate_zeros: int,
) -> Tensor:
    """Draw every step's affine map of every image: shift, scale, rotate, shift, as in Lucid.

    Args:
        generators: one per image.
        steps: maps of each image.
        jitter: widths in pixels of the first and the last shift; width 8 shifts by -4..3.
        scale: smallest, largest and spacing of the scales drawn.
        rotate: whole degrees up to this, both ways.
        rotate_zeros: extra chances of 0 degrees.

    Returns:
        (step, image, 2, 3) float32: window pixel to canvas pixel, x before y.
    """
    low, high, spacing = scale
    scales = low + spacing * torch.arange(math.floor((high - low) / spacing + 1e-6) + 1)
    angles = [float(angle) for angle in range(-rotate, rotate + 1)] + [0.0] * rotate_zeros
    radians = torch.tensor(angles) * (math.pi / 180)
    drawn = []
    for generator in generators:
        first, last = (
            torch.randint(0, width, (steps, 2, 1), generator=generator) - width // 2 for width in jitter
        )
        zoom = scales[torch.randint(0, len(scales), (steps,), generator=generator)]
        angle = radians[torch.randint(0, len(radians), (steps,), generator=generator)]
        cosine, sine = angle.cos() / zoom, angle.sin() / zoom
        turn = torch.stack([cosine, -sine, sine, cosine], dim=1).view(steps, 2, 2)
        drawn.append(torch.cat([turn, turn @ last.float() + first], dim=2))
    return torch.stack(drawn, dim=1)


def reach(half: float, *, jitter: tuple[int, int], scale: tuple[float, float, float], rotate: int) -> int:
    """How far from the canvas's centre a view can reach, in pixels.

    Args:
        half: half the side of the square that matters in the window.
        jitter, scale, rotate: as in `draw_affine`.
    """
    radians = min(rotate, 45) * math.pi / 180
    turned = half * (math.cos(radians) + math.sin(radians)) / scale[0]
    return math.ceil(turned + jitter[0] / 2 + jitter[1] / 2 / scale[0])


def sample(pictures: Tensor, maps: Tensor, height: int, width: int) -> Tensor:
    """Sample each picture through its own affine map.

    Args:
        pictures: (image, channel, y, x) float on 0..255.
        maps: (image, 2, 3), one step of `draw_affine`.
        height: of the window, in pixels.
        width: likewise.

    Returns:
        (image, channel, height, width), differentiable in `pictures`.
    """
    own_height, own_width = pictures.shape[2:]
    # grid_sample counts in half sides. A sum of rows and columns: affine_grid multiplies matrices
    # of three columns, which takes ten times as long.
    into = maps.new_tensor([2 / own_width, 2 / own_height])
    rows = torch.arange(height, device=maps.device)[:, None] + (1 - height) / 2
    columns = torch.arange(width, device=maps.device)[:, None] + (1 - width) / 2
    by_column, by_row, shift = (maps * into[:, None])[:, None].unbind(3)
    grid = (columns * by_column)[:, None] + (rows * by_row + shift)[:, :, None]
    sampled = F.grid_sample(pictures - GREY, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return sampled + GREY


def crop_offsets(generators: Sequence[Generator], steps: int, spread: float) -> Tensor:
    """Draw where to cut a window out of an enlarged picture, as shares of the slack.

    Args:
        generators: one per image.
        steps: how many draws for each.
        spread: standard deviation; the mean is the middle.

    Returns:
        (step, image, 2) float32 in 0..1, y before x.
    """
    drawn = [torch.randn(steps, 2, generator=generator) for generator in generators]
    return (0.5 + spread * torch.stack(drawn, dim=1)).clamp(0, 1)


def draw_rolls(generators: Sequence[Generator], steps: int, furthest: int) -> Tensor:
    """Draw every step's shift of every image, in whole pixels up to `furthest` both ways.

    Returns:
        (step, image, 2) int64, rows and columns.
    """
    drawn = [
        torch.randint(-furthest, furthest + 1, (steps, 2), generator=generator) for generator in generators
    ]
    return torch.stack(drawn, dim=1)


def draw_crops(
    generators: Sequence[Generator],
    steps: int,
    crops: int,
    *,
    size: tuple[float, float],
    size_sd: float,
    centre_sd: float,
    picture: tuple[int, int],
    window: tuple[int, int],
) -> Tensor:
    """Draw every step's crops of every image, as in MACO (Fel et al. 2023).

    Args:
        generators: one per image.
        steps: how many times.
        crops: of an image in a step.
        size: share of the picture's side, in the first and the last step.
        size_sd: standard deviation of that share, which stays in 0.05..1.
        centre_sd: standard deviation of a crop's centre around the picture's, as such a share.
        picture: its height and width, in pixels.
        window: likewise of what the network is shown.

    Returns:
        (step, image, crop, 2, 3) float32: window pixel to picture pixel, x before y.
    """
    shares = torch.linspace(*size, steps).view(-1, 1)
    drawn = []
    for generator in generators:
        share = shares + size_sd * torch.randn(steps, crops, generator=generator)
        share = share.clamp(SMALLEST_CROP, 1)[..., None]
        centre = centre_sd * torch.randn(steps, crops, 2, generator=generator)
        offset = centre.clamp(-(1 - share) / 2, (1 - share) / 2)
        drawn.append(_crop_maps(share, offset, picture, window))
    return torch.stack(drawn, dim=1)


def draw_boxes(
    generators: Sequence[Generator],
    steps: int,
    crops: int,
    *,
    size: tuple[float, float],
    picture: tuple[int, int],
    window: tuple[int, int],
) -> Tensor:
    """Draw every step's crops of every image: sides and places uniform (Hamblin et al. 2024).

    Args:
        generators: one per image.
        steps: how many times.
        crops: of an image in a step.
        size: smallest and largest share of the picture's side.
        picture: its height and width, in pixels.
        window: likewise of what the network is shown.

    Returns:
        (step, image, crop, 2, 3) float32: window pixel to picture pixel, x before y; no crop reaches
        out of the picture.
    """
    low, high = size
    drawn = []
    for generator in generators:
        share = low + (high - low) * torch.rand(steps, crops, 1, generator=generator)
        offset = (1 - share) * (torch.rand(steps, crops, 2, generator=generator) - 0.5)
        drawn.append(_crop_maps(share, offset, picture, window))
    return torch.stack(drawn, dim=1)


def _crop_maps(share: Tensor, offset: Tensor, picture: tuple[int, int], window: tuple[int, int]) -> Tensor:
    """Maps of crops from their sides (..., 1) and their centres (..., 2) off the picture's, in its sides."""
    sides = torch.tensor([picture[1], picture[0]], dtype=torch.float32)
    zoom = share * sides / torch.tensor([window[1], window[0]])
    return torch.cat([torch.diag_embed(zoom), (offset * sides)[..., None]], dim=-1)
