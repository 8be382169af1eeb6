"""From an original photograph to the network's input and back.

A network sees a resized, cropped, normalised copy of an image. `Preprocess` holds the numbers of
that copy; its methods give the geometry in both directions, so that a patch found on the
network's grid can be cut out of the original photograph.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pipeline.errors import UsageError

__all__ = ["Box", "Channels", "Fit", "Interpolation", "Preprocess"]

Interpolation = Literal["bilinear", "bicubic"]
Fit = Literal["crop", "squash"]
Channels = Literal["rgb", "bgr", "grey"]


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in pixels: left and top are inside, right and bottom are the first outside."""

    left: float
    top: float
    right: float
    bottom: float


@dataclass(frozen=True, slots=True)
class Preprocess:
    """How an image becomes a network's input.

    Args:
        height: rows of the network's input, in pixels.
        width: columns of the network's input, in pixels.
        resize: length of the short side before the centre crop, in pixels (unused by `squash`).
        interpolation: the antialiased filter of the resize.
        mean: per channel, in the network's own channel order, on the scale 0..255.
        std: likewise.
        channels: the order the network expects.
        fit: `crop` keeps the aspect ratio and cuts the centre; `squash` stretches to the input.

    Raises:
        UsageError: when the sizes are not positive or the crop is larger than the resized image.
    """

    height: int = 224
    width: int = 224
    resize: int = 256
    interpolation: Interpolation = "bilinear"
    mean: tuple[float, ...] = (123.675, 116.28, 103.53)
    std: tuple[float, ...] = (58.395, 57.12, 57.375)
    channels: Channels = "rgb"
    fit: Fit = "crop"

    def __post_init__(self) -> None:
        if self.height < 1 or self.width < 1:
            raise UsageError(f"the input must be at least 1x1, got {self.height}x{self.width}")
        if self.fit == "crop" and self.resize < max(self.height, self.width):
            raise UsageError(
                f"a {self.height}x{self.width} crop does not fit an image resized to a short side "
                f"of {self.resize}; give a resize of at least {max(self.height, self.width)}"
            )
        if len(self.mean) != len(self.std) or not self.mean:
            raise UsageError(f"mean and std differ in length: {self.mean} and {self.std}")
        if min(self.std) <= 0:
            raise UsageError(f"std must be positive, got {self.std}")

    def resized(self, width: int, height: int) -> tuple[int, int]:
        """Size (width, height) that an original of that size has before the crop, in pixels.

        The long side is truncated as torchvision's `Resize` does.
        """
        if self.fit == "squash":
            return self.width, self.height
        if width <= height:
            return self.resize, max(self.resize, self.resize * height // width)
        return max(self.resize, self.resize * width // height), self.resize

    def crop_offset(self, width: int, height: int) -> tuple[int, int]:
        """Left and top of the centre crop inside the resized image, in pixels.

        Halves are rounded to even, as torchvision's `CenterCrop` does.
        """
        resized_width, resized_height = self.resized(width, height)
        return round((resized_width - self.width) / 2), round((resized_height - self.height) / 2)

    def to_original(self, box: Box, width: int, height: int) -> Box:
        """Carry a box on the network's input back to the original photograph, clipped to both.

        Args:
            box: in input pixels; parts outside the input (padding) are cut off.
            width: of the original, in pixels, after its EXIF orientation is applied.
            height: likewise.
        """
        resized_width, resized_height = self.resized(width, height)
        left, top = self.crop_offset(width, height)
        scale_x, scale_y = width / resized_width, height / resized_height
        return Box(
            (max(box.left, 0) + left) * scale_x,
            (max(box.top, 0) + top) * scale_y,
            (min(box.right, self.width) + left) * scale_x,
            (min(box.bottom, self.height) + top) * scale_y,
        )
