"""`fourier` with what Ghiasi et al. 2022 add, and with shifts by whole patches, to be measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Generator, Tensor

from bench.small_vit.network import PATCH
from viz.ascent.loop import Ascent
from viz.ascent.random_views import AffineViews, RandomViews, ViewOf
from viz.ascent.score_terms import ScoreTerm
from viz.ascent.view_maps import GREY, draw_affine, sample
from viz.canvas import Canvas
from viz.inputs.batch import Batch
from viz.passes.score_term import Look, Views
from viz.recipes.fourier import Fourier

DEVIATION = 64.0
"""Standard deviation of the network's pixels on 0..255, the unit of shifts of colour and of variation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmented(Fourier):
    """`fourier` with augmentations of colour and noise, several views a step, and total variation.

    Ghiasi et al. 2022, "What do Vision Transformers Learn? A Visual Exploration". Their code has 8 views,
    shifts and log scales of colours up to 1, and 400 steps.

    Args:
        copies: random views of a picture in a step.
        colour: largest shift of a channel, in standard deviations of pixels, and largest logarithm of
            its scale.
        noise: standard deviation of Gaussian noise in the first step, in those of pixels.
        noise_falls: the noise falls to 0 by the last step.
        variation: weight of the root mean square difference of neighbouring pixels, in units of the
            score for a difference of one standard deviation.
        aligned: the only random views are shifts by -1, 0 or 1 patches.
    """

    copies: int = 1
    colour: float = 0.0
    noise: float = 0.0
    noise_falls: bool = True
    variation: float = 0.0
    aligned: bool = False

    def ascent(self, batch: Batch) -> Ascent:
        """As `fourier`, through other views."""
        plain = Fourier.ascent(self, batch)
        if self.aligned:
            return replace(plain, views=AffineViews(self._by_patches(batch).to(batch.device), batch.canvas))
        if self.copies == 1 and not self.colour and not self.noise:
            return plain
        maps = draw_affine(
            batch.generators,
            self.steps * self.copies,
            jitter=self.jitter,
            scale=self.scale,
            rotate=self.rotate,
            rotate_zeros=self.rotate_zeros,
        )
        maps = maps.unflatten(0, (self.steps, self.copies)).transpose(1, 2)
        return replace(
            plain, views=AugmentedViews(maps.to(batch.device), batch.canvas, self, batch.generators)
        )

    def score_term(self, batch: Batch) -> ScoreTerm | None:
        """Total variation."""
        return Variation(self.variation) if self.variation else None

    def _by_patches(self, batch: Batch) -> Tensor:
        """(step, image, 2, 3) shifts."""
        maps = torch.zeros(self.steps, len(batch.generators), 2, 3)
        maps[..., 0, 0] = maps[..., 1, 1] = 1
        for image, generator in enumerate(batch.generators):
            drawn = torch.randint(-1, 2, (self.steps, 2), generator=generator)
            maps[:, image, :, 2] = (PATCH * drawn).float()
        return maps


class AugmentedViews(RandomViews):
    """Several affine views of each picture a step, with other colours and noise.

    Args:
        maps: (step, image, copy, 2, 3).
        canvas: whose window the network is shown.
        recipe: with the strengths.
        generators: one per image; they draw colours and noise.
    """

    def __init__(
        self, maps: Tensor, canvas: Canvas, recipe: Augmented, generators: Sequence[Generator]
    ) -> None:
        self.maps, self.canvas, self.recipe, self.generators = maps, canvas, recipe, generators
        self.copies = maps.shape[2]

    def at_step(self, step: int, images: Sequence[int]) -> ViewOf:
        """Several views of each image."""
        height, width, recipe = self.canvas.height, self.canvas.width, self.recipe
        left = 1 - step / recipe.steps if recipe.noise_falls else 1.0
        shape = (self.copies, 3, height, width)
        scales, shifts, noise = [], [], []
        for image in images:
            generator = self.generators[image]
            drawn = recipe.colour * (2 * torch.rand(2, self.copies, 3, 1, 1, generator=generator) - 1)
            scales.append(drawn[0].exp())
            shifts.append(DEVIATION * drawn[1])
            noise.append(DEVIATION * recipe.noise * left * torch.randn(shape, generator=generator))
        scale, shift, added = (torch.cat(each).to(self.maps.device) for each in (scales, shifts, noise))
        maps = self.maps[step][images].flatten(0, 1)

        def view(pictures: Tensor) -> Tensor:
            seen = sample(pictures.repeat_interleave(self.copies, dim=0), maps, height, width)
            return (seen - GREY) * scale + shift + GREY + added

        return view

    def state(self) -> dict[str, Any]:
        """The states of the generators."""
        return {"generators": [generator.get_state() for generator in self.generators]}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue to draw from these states."""
        for generator, saved in zip(self.generators, state["generators"], strict=True):
            generator.set_state(saved.cpu())


class Variation(ScoreTerm):
    """Minus the variation of what the network is shown, in shares of the score.

    Args:
        weight: of a root mean square difference of one standard deviation of pixels.
    """

    def __init__(self, weight: float) -> None:
        self.weight = weight

    def __call__(
        self, scores: Tensor, views: Views, pictures: Tensor, images: Sequence[int], look: Look
    ) -> Tensor:
        """Scores less the variation."""
        variation = torch.zeros_like(scores)
        for steps in (pictures.diff(dim=2), pictures.diff(dim=3)):
            # Without the 1, a grey picture would have no gradient that is a number.
            variation = variation + (steps.square().mean((2, 3)) + 1).sqrt().mean(1) / DEVIATION / 2
        return scores - self.weight * (scores.detach().abs() + 1) * variation
