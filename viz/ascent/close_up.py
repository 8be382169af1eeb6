"""The effective receptive field alone, enlarged: what is seen by somebody who is shown the patch."""

from __future__ import annotations

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from viz.canvas import Canvas

__all__ = ["box_of", "close_up"]


def close_up(pictures: Tensor, canvas: Canvas, size: tuple[int, int]) -> Tensor:
    """Cut out the canvas's box and resize it, by bicubic interpolation.

    Args:
        pictures: (image, channel, y, x), windows of the canvas.
        canvas: its box is the effective receptive field.
        size: height and width of the result, in pixels.

    Returns:
        (image, channel, y, x), differentiable.
    """
    cut = box_of(pictures, canvas)
    # As two products of matrices: the gradient of PyTorch's own interpolation takes five times as long.
    by_row, by_column = (_weights(*lengths).to(cut) for lengths in zip(cut.shape[2:], size, strict=True))
    resized: Tensor = by_row @ cut @ by_column.T
    return resized


def box_of(pictures: Tensor, canvas: Canvas) -> Tensor:
    """Cut out the canvas's box.

    Args:
        pictures: (image, channel, y, x), windows of the canvas.
        canvas: its box is the effective receptive field.
    """
    box = canvas.box
    rows = slice(max(0, round(box.top)), round(box.bottom))
    columns = slice(max(0, round(box.left)), round(box.right))
    return pictures[:, :, rows, columns]


@cache
def _weights(length: int, wanted: int) -> Tensor:
    """(wanted, length): by which a row of pixels becomes one of another length, in `F.interpolate`."""
    each_alone = torch.eye(length)[None, None]
    weights: Tensor = F.interpolate(each_alone, (wanted, length), mode="bicubic")[0, 0]
    return weights
