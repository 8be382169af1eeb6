"""Patches of real images: the receptive field of a peak, cut out of the original photograph.

Patches have the resolution of the original, not that of the resized copy which the network took.
"""

from __future__ import annotations

from dataclasses import replace

from PIL import Image

from pipeline.images.decode import decode, open_original
from pipeline.images.preprocess import Box, Preprocess
from pipeline.layers.layer import Layer

__all__ = ["NEUTRAL", "crop_patch", "open_shown", "seen_window"]

NEUTRAL = (236, 234, 229)
"""RGB colour of what is outside the network's input."""

SQUARE_TOLERANCE = 0.02
"""Aspect ratios closer to 1 than this fill a square: the difference is rounding of the resize."""


def open_shown(data: bytes, preprocess: Preprocess) -> tuple[Image.Image, Preprocess]:
    """Open what is shown of an image: the original, or what a grey network was given of it.

    A colour photograph would show what such a network, which often has small inputs, cannot see.

    Args:
        data: the encoded image.
        preprocess: of the network.

    Returns:
        An RGB image, and the preprocessing that gives the network's input from it.

    Raises:
        BadImage: when it cannot be decoded.
    """
    if preprocess.channels != "grey":
        return open_original(data), preprocess
    pixels = decode(data, preprocess)
    return Image.fromarray(pixels[0].numpy()).convert("RGB"), replace(preprocess, fit="squash")


def seen_window(layer: Layer, y: int, x: int, preprocess: Preprocess) -> Box:
    """The receptive field of grid position (y, x), in pixels of the network's input.

    It may extend beyond the input, into padding. A receptive field as large as the input or larger
    is replaced by the input, along each axis.
    """
    box = layer.box(y, x)
    left, right = (box.left, box.right) if layer.rf_w < preprocess.width else (0, preprocess.width)
    top, bottom = (box.top, box.bottom) if layer.rf_h < preprocess.height else (0, preprocess.height)
    return Box(left, top, right, bottom)


def crop_patch(photograph: Image.Image, window: Box, preprocess: Preprocess, size: int) -> Image.Image:
    """Cut a window of the network's input out of the original photograph.

    Args:
        photograph: the original, RGB, upright.
        window: from `seen_window`.
        preprocess: from the photograph to the input.
        size: side of the returned square, in pixels.

    Returns:
        An RGB image of size x size; what is outside the input is `NEUTRAL`, and so are the bars
        beside a window that is not square in the photograph.
    """
    width, height = photograph.size
    inside = preprocess.to_original(window, width, height)
    placement = preprocess.placement(width, height)
    scale_x, scale_y = placement.scale_x, placement.scale_y
    whole_width = (window.right - window.left) * scale_x
    whole_height = (window.bottom - window.top) * scale_y
    aspect = whole_width / whole_height
    if abs(aspect - 1) < SQUARE_TOLERANCE:
        zoom_x, zoom_y = size / whole_width, size / whole_height
    else:
        zoom_x = zoom_y = size / max(whole_width, whole_height)
    bar_x = (size - whole_width * zoom_x) / 2
    bar_y = (size - whole_height * zoom_y) / 2
    # A sliver at the far edge is rounded onto the last row or column, not beyond it.
    left = min(size - 1, round(bar_x + max(0.0, -window.left) * scale_x * zoom_x))
    top = min(size - 1, round(bar_y + max(0.0, -window.top) * scale_y * zoom_y))
    patch = Image.new("RGB", (size, size), NEUTRAL)
    if inside.right <= inside.left or inside.bottom <= inside.top:
        return patch
    across = min(size - left, max(1, round((inside.right - inside.left) * zoom_x)))
    down = min(size - top, max(1, round((inside.bottom - inside.top) * zoom_y)))
    source = (
        max(0.0, inside.left),
        max(0.0, inside.top),
        min(float(width), inside.right),
        min(float(height), inside.bottom),
    )
    piece = photograph.resize((across, down), Image.Resampling.LANCZOS, box=source)
    patch.paste(piece, (left, top))
    return patch
