"""From an original photograph to the network's input and back.

A network takes a resized, cropped, normalised copy of an image. `Preprocess` holds the numbers of
that copy. Its methods give the geometry in both directions, so that a patch found on the network's
grid can be cut out of the original photograph; `Preprocess.placement` and `Preprocess.placement_sql`
are the same geometry for one image in Python and for all images of an index in SQL.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from pipeline.errors import UsageError

__all__ = ["Box", "Channels", "Fit", "Interpolation", "Placement", "Preprocess"]

Interpolation = Literal["bilinear", "bicubic"]
Fit = Literal["crop", "crop_floor", "squash", "squash_crop"]
Channels = Literal["rgb", "bgr", "grey"]


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in pixels: left and top are inside, right and bottom are just outside."""

    left: float
    top: float
    right: float
    bottom: float

    def __iter__(self) -> Iterator[float]:
        """Left, top, right, bottom, as Pillow's `Image.crop` takes them."""
        return iter((self.left, self.top, self.right, self.bottom))


@dataclass(frozen=True, slots=True)
class Placement:
    """Where the network's input lies in one original photograph.

    Args:
        left: of the centre crop inside the resized image, in pixels.
        top: likewise.
        scale_x: columns of the original to one of the resized image.
        scale_y: rows likewise.
        reach_x: columns of the original that the resize takes into account on either side of those
            that a column of the input covers.
        reach_y: rows likewise.
    """

    left: int
    top: int
    scale_x: float
    scale_y: float
    reach_x: float
    reach_y: float

    def to_original(self, box: Box) -> Box:
        """Map a box from pixels of the input to pixels of the original."""
        return Box(
            (box.left + self.left) * self.scale_x,
            (box.top + self.top) * self.scale_y,
            (box.right + self.left) * self.scale_x,
            (box.bottom + self.top) * self.scale_y,
        )

    def seen_in_original(self, box: Box) -> Box:
        """All pixels of the original that a box of the input depends on; may reach beyond its edges."""
        covered = self.to_original(box)
        return Box(
            covered.left - self.reach_x,
            covered.top - self.reach_y,
            covered.right + self.reach_x,
            covered.bottom + self.reach_y,
        )


SUPPORT: Mapping[Interpolation, int] = {"bilinear": 1, "bicubic": 2}
"""Half the width of each filter of the resize: in pixels of the resized image when it shrinks (with
antialiasing), of the original when it enlarges."""


@dataclass(frozen=True, slots=True)
class Preprocess:
    """How an image becomes a network's input.

    Args:
        height: rows of the network's input, in pixels.
        width: columns of the network's input, in pixels.
        resize: length of the short side before the centre crop, in pixels; for `squash_crop` of both
            sides (unused by `squash`).
        interpolation: the antialiased filter of the resize.
        mean: per channel, in the network's own channel order, on the scale 0..255.
        std: likewise.
        channels: the order the network expects.
        fit: `crop` keeps the aspect ratio and crops the centre, `crop_floor` likewise, a pixel further to
            the left or top where the rest is odd (as transformers do); `squash` stretches to the
            input; `squash_crop` stretches to a square and crops its centre.

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
        if self.fit != "squash" and self.resize < max(self.height, self.width):
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
        if self.fit == "squash_crop":
            return self.resize, self.resize
        if width <= height:
            return self.resize, max(self.resize, self.resize * height // width)
        return max(self.resize, self.resize * width // height), self.resize

    def crop_offset(self, width: int, height: int) -> tuple[int, int]:
        """Left and top of the centre crop inside the resized image, in pixels.

        Halves are rounded to even for `crop`, as torchvision's `CenterCrop` does, otherwise down.
        """
        resized_width, resized_height = self.resized(width, height)
        if self.fit != "crop":
            return (resized_width - self.width) // 2, (resized_height - self.height) // 2
        return round((resized_width - self.width) / 2), round((resized_height - self.height) / 2)

    def placement(self, width: int, height: int) -> Placement:
        """Where the input lies in an original of that size.

        Args:
            width: of the original, in pixels, after its EXIF orientation is applied.
            height: likewise.
        """
        resized_width, resized_height = self.resized(width, height)
        left, top = self.crop_offset(width, height)
        scale_x, scale_y = width / resized_width, height / resized_height
        reach_x, reach_y = (self._reach(scale) for scale in (scale_x, scale_y))
        return Placement(left, top, scale_x, scale_y, reach_x, reach_y)

    def _reach(self, scale: float) -> float:
        """How far the filter reaches, in pixels of the original; an image of the right size is copied."""
        return 0.0 if scale == 1 else SUPPORT[self.interpolation] * max(scale, 1.0)

    def to_original(self, box: Box, width: int, height: int) -> Box:
        """Map a box on the network's input to the original photograph, clipped to the input.

        Args:
            box: in input pixels; parts outside the input (padding) are cut off.
            width: of the original, in pixels, after its EXIF orientation is applied.
            height: likewise.
        """
        return self.placement(width, height).to_original(self._inside(box))

    def seen_in_original(self, box: Box, width: int, height: int) -> Box:
        """As `to_original`, with the margin that the filter of the resize takes into account.

        Pixels of the original outside the box have no effect on the box of the input.
        """
        seen = self.placement(width, height).seen_in_original(self._inside(box))
        return Box(max(seen.left, 0), max(seen.top, 0), min(seen.right, width), min(seen.bottom, height))

    def _inside(self, box: Box) -> Box:
        return Box(
            max(box.left, 0), max(box.top, 0), min(box.right, self.width), min(box.bottom, self.height)
        )

    def placement_sql(self) -> dict[str, str]:
        """The fields of `placement` as DuckDB expressions of the columns `width` and `height`."""
        if self.fit == "squash":
            resized_width, resized_height = str(self.width), str(self.height)
        elif self.fit == "squash_crop":
            resized_width = resized_height = str(self.resize)
        else:
            resized_width, resized_height = (
                f"CASE WHEN {side} <= {other} THEN {self.resize} "
                f"ELSE greatest({self.resize}, {self.resize} * {side} // {other}) END"
                for side, other in (("width", "height"), ("height", "width"))
            )
        scales = {"x": f"width / ({resized_width})", "y": f"height / ({resized_height})"}
        support = SUPPORT[self.interpolation]
        reaches = {
            f"reach_{axis}": f"CASE WHEN {scale} = 1 THEN 0 ELSE {support} * greatest({scale}, 1) END"
            for axis, scale in scales.items()
        }
        rests = {"left": f"({resized_width}) - {self.width}", "top": f"({resized_height}) - {self.height}"}
        half = "round_even(({}) / 2, 0)" if self.fit == "crop" else "({}) // 2"
        return {
            **{corner: half.format(rest) for corner, rest in rests.items()},
            **{f"scale_{axis}": scale for axis, scale in scales.items()},
            **reaches,
        }
