"""From an original photograph to the network's input and back.

A network takes a resized, cropped, normalised copy of an image. `Preprocess` holds the numbers of
that copy. Its methods give the geometry in both directions, so that a patch found on the network's
grid can be cut out of the original photograph; `Preprocess.placement` and `Preprocess.placement_sql`
are the same geometry for one image in Python and for all images of an index in SQL.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pipeline.errors import UsageError

__all__ = ["Box", "Channels", "Fit", "Interpolation", "Placement", "Preprocess"]

Interpolation = Literal["bilinear", "bicubic"]
Fit = Literal["crop", "squash"]
Channels = Literal["rgb", "bgr", "grey"]


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in pixels: left and top are inside, right and bottom are just outside."""

    left: float
    top: float
    right: float
    bottom: float


@dataclass(frozen=True, slots=True)
class Placement:
    """Where the network's input lies in one original photograph.

    Args:
        left: of the centre crop inside the resized image, in pixels.
        top: likewise.
        scale_x: columns of the original to one of the resized image.
        scale_y: rows likewise.
    """

    left: int
    top: int
    scale_x: float
    scale_y: float

    def to_original(self, box: Box) -> Box:
        """Map a box from pixels of the input to pixels of the original."""
        return Box(
            (box.left + self.left) * self.scale_x,
            (box.top + self.top) * self.scale_y,
            (box.right + self.left) * self.scale_x,
            (box.bottom + self.top) * self.scale_y,
        )


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
        fit: `crop` keeps the aspect ratio and crops the centre; `squash` stretches to the input.

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

    def placement(self, width: int, height: int) -> Placement:
        """Where the input lies in an original of that size.

        Args:
            width: of the original, in pixels, after its EXIF orientation is applied.
            height: likewise.
        """
        resized_width, resized_height = self.resized(width, height)
        left, top = self.crop_offset(width, height)
        return Placement(left, top, width / resized_width, height / resized_height)

    def to_original(self, box: Box, width: int, height: int) -> Box:
        """Map a box on the network's input to the original photograph, clipped to the input.

        Args:
            box: in input pixels; parts outside the input (padding) are cut off.
            width: of the original, in pixels, after its EXIF orientation is applied.
            height: likewise.
        """
        inside = Box(
            max(box.left, 0), max(box.top, 0), min(box.right, self.width), min(box.bottom, self.height)
        )
        return self.placement(width, height).to_original(inside)

    def placement_sql(self) -> dict[str, str]:
        """The fields of `placement` as DuckDB expressions of the columns `width` and `height`."""
        if self.fit == "squash":
            resized_width, resized_height = str(self.width), str(self.height)
        else:
            resized_width, resized_height = (
                f"CASE WHEN {side} <= {other} THEN {self.resize} "
                f"ELSE greatest({self.resize}, {self.resize} * {side} // {other}) END"
                for side, other in (("width", "height"), ("height", "width"))
            )
        return {
            "left": f"round_even((({resized_width}) - {self.width}) / 2, 0)",
            "top": f"round_even((({resized_height}) - {self.height}) / 2, 0)",
            "scale_x": f"width / ({resized_width})",
            "scale_y": f"height / ({resized_height})",
        }
