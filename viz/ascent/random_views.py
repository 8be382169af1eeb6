"""What the network is shown of pictures in each step: random views, differentiable.

    WholePicture   the pictures as they are
    RolledViews    one shift of each picture a step; what leaves at one side comes back at the other
    AffineViews    one shift, scale and rotation of each picture a step
    WindowViews    one window of each enlarged picture a step
    CropViews      several noisy crops of each picture a step

`viz.ascent.view_maps` draws the maps, from each image's own generator.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Generator, Tensor

from viz.ascent.view_maps import sample
from viz.canvas import Canvas

__all__ = ["AffineViews", "CropViews", "RandomViews", "RolledViews", "ViewOf", "WholePicture", "WindowViews"]

ViewOf = Callable[[Tensor], Tensor]
"""Pictures (image, channel, y, x) to what the network is shown of them, differentiable."""


class RandomViews:
    """What the network is shown in each step.

    Attributes:
        copies: views of a picture in a step, next to each other in the batch.
    """

    copies = 1

    def at_step(self, step: int, images: Sequence[int]) -> ViewOf:
        """The view of a step, of pictures of those images of the batch."""
        raise NotImplementedError

    def state(self) -> dict[str, Any]:
        """What is carried from one step to the next."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from what `state` gave."""


class WholePicture(RandomViews):
    """Pictures as they are."""

    def at_step(self, step: int, images: Sequence[int]) -> ViewOf:
        """Every picture."""
        return lambda pictures: pictures


class RolledViews(RandomViews):
    """Pictures shifted in a circle.

    Args:
        shifts: (step, image, 2) int64, rows and columns, as `viz.ascent.view_maps.draw_rolls` draws them.
    """

    def __init__(self, shifts: Tensor) -> None:
        self.shifts = shifts

    def at_step(self, step: int, images: Sequence[int]) -> ViewOf:
        """One shift of each image."""
        shifts = self.shifts[step][images].tolist()

        def view(pictures: Tensor) -> Tensor:
            rolled = [
                picture.roll(tuple(shift), (1, 2)) for picture, shift in zip(pictures, shifts, strict=True)
            ]
            return torch.stack(rolled)

        return view


class AffineViews(RandomViews):
    """Pictures of a canvas through random affine maps.

    Args:
        maps: (step, image, 2, 3), as `draw_affine` draws them.
        canvas: whose window the network is shown.
    """

    def __init__(self, maps: Tensor, canvas: Canvas) -> None:
        self.maps, self.canvas = maps, canvas

    def at_step(self, step: int, images: Sequence[int]) -> ViewOf:
        """One map for each image."""
        height, width = self.canvas.height, self.canvas.width
        return partial(sample, maps=self.maps[step][images], height=height, width=width)


class WindowViews(RandomViews):
    """Windows of pictures that may be larger than the canvas.

    Args:
        shares: (step, image, 2), as `crop_offsets` draws them.
        canvas: whose window the network is shown.
    """

    def __init__(self, shares: Tensor, canvas: Canvas) -> None:
        self.shares, self.canvas = shares, canvas

    def at_step(self, step: int, images: Sequence[int]) -> ViewOf:
        """One window of each image."""
        return partial(self._cut, shares=self.shares[step][images].tolist())

    def _cut(self, pictures: Tensor, shares: Sequence[tuple[float, float]]) -> Tensor:
        height, width = self.canvas.height, self.canvas.width
        slack_y, slack_x = pictures.shape[2] - height, pictures.shape[3] - width
        windows = []
        for picture, (y, x) in zip(pictures, shares, strict=True):
            top, left = round(y * slack_y), round(x * slack_x)
            windows.append(picture[:, top : top + height, left : left + width])
        return torch.stack(windows)


class CropViews(RandomViews):
    """Random crops of pictures, under noise.

    Args:
        maps: (step, image, crop, 2, 3), as `draw_crops` draws them.
        canvas: whose window the network is shown.
        noise: standard deviation on 0..255 of the Gaussian noise, to which uniform noise of that
            width is added.
        channels: of a picture.
        generators: one per image; they draw the noise.
    """

    def __init__(
        self, maps: Tensor, canvas: Canvas, noise: float, channels: int, generators: Sequence[Generator]
    ) -> None:
        self.maps, self.canvas, self.noise = maps, canvas, noise
        self.channels, self.generators = channels, generators
        self.copies = maps.shape[2]

    def at_step(self, step: int, images: Sequence[int]) -> ViewOf:
        """Several crops of each image, each with its own noise."""
        height, width = self.canvas.height, self.canvas.width
        maps, noise = self.maps[step][images].flatten(0, 1), self._draw_noise(images).to(self.maps.device)

        def view(pictures: Tensor) -> Tensor:
            return sample(pictures.repeat_interleave(self.copies, dim=0), maps, height, width) + noise

        return view

    def state(self) -> dict[str, Any]:
        """The states of the generators."""
        return {"generators": [generator.get_state() for generator in self.generators]}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue to draw from these states."""
        for generator, saved in zip(self.generators, state["generators"], strict=True):
            generator.set_state(saved.cpu())

    def _draw_noise(self, images: Sequence[int]) -> Tensor:
        shape = (self.copies, self.channels, self.canvas.height, self.canvas.width)
        drawn = []
        for image in images:
            generator = self.generators[image]
            gaussian = torch.randn(shape, generator=generator)
            uniform = torch.rand(shape, generator=generator) - 0.5
            drawn.append(self.noise * (gaussian + uniform))
        return torch.cat(drawn)
