"""The part of a network's input that a target can see, and the canvas that is optimised for it.

A unit at one grid position depends only on its receptive field. Running the network on a window around
it gives the same activation for a fraction of the work. The window starts at a multiple of the layer's
stride, and its size is congruent to the input's modulo the stride, so that every strided layer keeps
its alignment; and it contains the receptive field, so that zero padding at its border has no effect.
The canvas is the window plus a margin for jitter and blur.

The same holds inside the network: only a part of every intermediate map is needed. These parts are the
canvas's crops; `viz.planning.cone` finds them.

    whole input  ┌───────────────────────────┐
                 │    canvas ┌───────────┐   │
                 │           │ window    │   │
                 │           │  ┌─────┐  │   │
                 │           │  │ box │  │   │   box: the receptive field
                 │           └───────────┘   │
                 └───────────────────────────┘
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from pipeline.images.preprocess import Box
from pipeline.layers.layer import Layer

__all__ = ["Canvas", "Crop", "cut_canvas", "cut_interval", "place", "whole_canvas"]


@dataclass(frozen=True, slots=True)
class Crop:
    """The part of a module's output that the target needs.

    Args:
        module: dotted name of a module that outputs (image, unit, y, x).
        top: first row, in the module's output on the window after all earlier crops.
        left: first column likewise.
        height: number of rows.
        width: number of columns.
    """

    module: str
    top: int
    left: int
    height: int
    width: int

    def __call__(self, output: Tensor) -> Tensor:
        """Crop (image, unit, y, x); the result is channels-last."""
        rows = slice(self.top, self.top + self.height)
        columns = slice(self.left, self.left + self.width)
        return _Part.apply(output, rows, columns)  # type: ignore[no-untyped-call,no-any-return]


class _Part(torch.autograd.Function):
    """A slice whose gradient stays channels-last, other than PyTorch's own."""

    @staticmethod
    def forward(ctx: Any, output: Tensor, rows: slice, columns: slice) -> Tensor:
        ctx.shape, ctx.place = output.shape, (rows, columns)
        part = output[:, :, rows, columns]
        return part.clone(memory_format=torch.channels_last)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        whole = torch.empty(
            ctx.shape,
            dtype=gradient.dtype,
            device=gradient.device,
            memory_format=torch.channels_last,
        ).zero_()
        rows, columns = ctx.place
        whole[:, :, rows, columns] = gradient
        return whole, None, None


@dataclass(frozen=True, slots=True)
class Canvas:
    """The position of the optimised picture in the network's input; all lengths in pixels.

    Args:
        input_height: height of the network's input.
        input_width: its width.
        top: first row of the window in the input.
        left: first column of the window in the input.
        height: height of the window, the part of the input that the network is run on.
        width: its width.
        grid_top: row of the layer's grid on the whole input that is row 0 on the window.
        grid_left: column likewise.
        box: the receptive field, in window pixels.
        margin: pixels of canvas around the window, on each side.
        crops: of intermediate maps, in forward order.
    """

    input_height: int
    input_width: int
    top: int
    left: int
    height: int
    width: int
    grid_top: int
    grid_left: int
    box: Box
    margin: int = 0
    crops: tuple[Crop, ...] = ()

    @property
    def is_whole(self) -> bool:
        """Whether the window is the whole input."""
        return (self.height, self.width) == (self.input_height, self.input_width)

    @property
    def field_is_whole(self) -> bool:
        """Whether the receptive field is the whole input."""
        seen = self.box_on_input
        across = seen.left <= 0 and seen.right >= self.input_width
        return across and seen.top <= 0 and seen.bottom >= self.input_height

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the canvas, before octaves enlarge it."""
        return self.height + 2 * self.margin, self.width + 2 * self.margin

    @property
    def box_on_input(self) -> Box:
        """The receptive field in pixels of the whole input."""
        return Box(
            self.box.left + self.left,
            self.box.top + self.top,
            self.box.right + self.left,
            self.box.bottom + self.top,
        )

    def with_margin(self, margin: int) -> Canvas:
        """The same window with another margin, limited so that the canvas is not larger than the input."""
        room = min(self.input_height - self.height, self.input_width - self.width) // 2
        return replace(self, margin=max(0, min(margin, room)))

    def box_in(self, height: int, width: int) -> Box:
        """The receptive field in a picture of that size, centred on the window."""
        top, left = self.window_in(height, width)
        return Box(self.box.left + left, self.box.top + top, self.box.right + left, self.box.bottom + top)

    def window_in(self, height: int, width: int) -> tuple[int, int]:
        """Top and left of the window in a picture of that size, centred on it; negative if it is smaller."""
        return (height - self.height) // 2, (width - self.width) // 2


def whole_canvas(input_height: int, input_width: int, box: Box | None = None) -> Canvas:
    """The whole input as the window, for objectives that read every position."""
    whole = box or Box(0, 0, input_width, input_height)
    return Canvas(input_height, input_width, 0, 0, input_height, input_width, 0, 0, whole)


def cut_canvas(layer: Layer, y: int, x: int, input_height: int, input_width: int) -> Canvas:
    """The smallest aligned window that contains the receptive field of one grid position.

    A receptive field that extends beyond a border of the input is clipped, and the window ends at
    that border, so that the same padding applies.

    Args:
        layer: its receptive field, stride and start are used.
        y, x: grid position.
        input_height: height of the network's input, in pixels.
        input_width: its width.
    """
    seen = layer.box(y, x)
    box = Box(
        max(seen.left, 0),
        max(seen.top, 0),
        min(seen.right, input_width),
        min(seen.bottom, input_height),
    )
    if layer.stride_y < 1 or layer.stride_x < 1:
        return whole_canvas(input_height, input_width, box)
    top, height = cut_interval(int(seen.top), int(seen.bottom), layer.stride_y, input_height)
    left, width = cut_interval(int(seen.left), int(seen.right), layer.stride_x, input_width)
    return Canvas(
        input_height,
        input_width,
        top,
        left,
        height,
        width,
        top // layer.stride_y,
        left // layer.stride_x,
        Box(box.left - left, box.top - top, box.right - left, box.bottom - top),
    )


def cut_interval(start: int, end: int, stride: int, length: int) -> tuple[int, int]:
    """The smallest aligned interval of [0, length) that contains its intersection with [start, end).

    Returns:
        Its offset, a multiple of `stride`, and its size, congruent to `length` modulo `stride`.
    """
    offset = max(start, 0) // stride * stride
    size = min(end, length) - offset
    return offset, size + (length - size) % stride


def place(pictures: Tensor, canvas: Canvas, surroundings: Tensor) -> Tensor:
    """Paste pictures into the network's input at the position of their canvas.

    Args:
        pictures: (image, channel, y, x) of any size, centred on the window; parts outside the input
            are cut off.
        canvas: the position.
        surroundings: (channel,), the colour of the rest of the input.

    Returns:
        (image, channel, input_height, input_width), of the dtype of `pictures`.
    """
    images, channels = pictures.shape[:2]
    offset_y, offset_x = canvas.window_in(*pictures.shape[2:])
    whole = surroundings.to(pictures).view(1, channels, 1, 1)
    whole = whole.repeat(images, 1, canvas.input_height, canvas.input_width)
    rows, from_rows = _overlap(canvas.top - offset_y, pictures.shape[2], canvas.input_height)
    columns, from_columns = _overlap(canvas.left - offset_x, pictures.shape[3], canvas.input_width)
    whole[:, :, rows, columns] = pictures[:, :, from_rows, from_columns]
    return whole


def _overlap(offset: int, length: int, whole: int) -> tuple[slice, slice]:
    """The intersection of [offset, offset + length) with [0, whole), as a slice of either."""
    first, last = max(offset, 0), min(offset + length, whole)
    return slice(first, last), slice(first - offset, last - offset)
