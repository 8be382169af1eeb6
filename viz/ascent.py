"""The climbs: a recipe and a scorer turn seeded starts into pictures.

Nothing here mixes the images of a batch, and every draw comes from an image's own generator, so
that a unit's picture does not depend on what else is rendered beside it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from pipeline.errors import RenderError
from viz.canvas import Canvas
from viz.image import blur, enlarge, noise, spectrum_noise, spectrum_to_picture
from viz.objective import Objective
from viz.recipe import Fourier, Octave, Octaves, Recipe
from viz.scorer import Scorer
from viz.transform import crop_offsets, draw_affine, reach, sample

__all__ = ["Climb", "Task", "canvas_for", "climb", "item_generator"]

OnStep = Callable[[int], None]
"""Told after each step how many image-steps were done."""


@dataclass(frozen=True, slots=True)
class Task:
    """A batch to render.

    Args:
        scorer: the network.
        canvas: shared by the batch.
        channels: of a picture.
        objectives: one per image.
        generators: one per image.
        on_step: told of progress.
    """

    scorer: Scorer
    canvas: Canvas
    channels: int
    objectives: Sequence[Objective]
    generators: Sequence[Generator]
    on_step: OnStep


@dataclass(frozen=True, slots=True)
class Climb:
    """What came out of a batch.

    Args:
        pictures: (image, channel, y, x) float on 0..255, of the last step.
        best: likewise, of each image's best step.
        trace: (step, image) scores, each before its step was taken.
    """

    pictures: Tensor
    best: Tensor
    trace: Tensor


def item_generator(seed: int, layer: str, unit: int, facet: int = 0) -> Generator:
    """The generator of one rendering: a hash of what it is, so that it stands alone."""
    text = f"{seed}/{layer}/{unit}/{facet}".encode()
    number = int.from_bytes(hashlib.sha256(text).digest()[:8], "little") >> 1
    return torch.Generator().manual_seed(number)


def canvas_for(recipe: Recipe, canvas: Canvas) -> Canvas:
    """The canvas with the margin that a recipe's random views need."""
    half = max(canvas.height, canvas.width) / 2
    if isinstance(recipe, Fourier):
        furthest = reach(half, jitter=recipe.jitter, scale=recipe.scale, rotate=recipe.rotate)
        return canvas.with_margin(furthest - int(half))
    if isinstance(recipe, Octaves):
        return canvas
    raise RenderError(f"recipe {recipe.name} has no canvas")


def climb(recipe: Recipe, task: Task) -> Climb:
    """Render a batch.

    Raises:
        RenderError: for a recipe that cannot be climbed.
    """
    if isinstance(recipe, Fourier):
        return _climb_fourier(recipe, task)
    if isinstance(recipe, Octaves):
        return _climb_octaves(recipe, task)
    raise RenderError(f"recipe {recipe.name} cannot be rendered on its own")


class _Record:
    """Keeps the trace and each image's best picture."""

    def __init__(self, images: int) -> None:
        self.scores: list[Tensor] = []
        self.high = torch.full((images,), -torch.inf)
        self.best: list[Tensor | None] = [None] * images

    def add(self, scores: Tensor, pictures: Tensor) -> None:
        scores = scores.cpu()
        self.scores.append(scores)
        for image in torch.nonzero(scores > self.high).flatten().tolist():
            self.best[image] = pictures[image].detach().clone()
        self.high = torch.maximum(self.high, scores)

    def finish(self, pictures: Tensor) -> Climb:
        size = (pictures.shape[2], pictures.shape[3])
        best = [
            pictures[image] if found is None else enlarge(found[None], *size)[0]
            for image, found in enumerate(self.best)
        ]
        return Climb(pictures.detach(), torch.stack(best), torch.stack(self.scores))


def _unit_rms(slope: Tensor) -> Tensor:
    """Scale each image's gradient to a root mean square of 1; all zero stays zero."""
    size = slope.flatten(1).square().mean(1).sqrt().clamp(min=1e-30)
    return slope / size.view(-1, *[1] * (slope.ndim - 1))


def _climb_fourier(recipe: Fourier, task: Task) -> Climb:
    canvas, device = task.canvas, task.scorer.device
    height, width = canvas.size
    shape = (task.channels, height, width)
    spectrum = spectrum_noise(task.generators, shape, recipe.start_sd).to(device).requires_grad_()
    views = draw_affine(
        task.generators, recipe.steps, jitter=recipe.jitter, scale=recipe.scale,
        rotate=recipe.rotate, rotate_zeros=recipe.rotate_zeros,
    ).to(device)  # fmt: skip
    adam = torch.optim.Adam([spectrum], lr=recipe.rate)
    record = _Record(len(task.objectives))
    for step in range(recipe.steps):
        pictures = spectrum_to_picture(spectrum, height, width, recipe.decay)
        windows = sample(pictures, views[step], canvas.height, canvas.width)
        scores, slope = task.scorer.gradient(windows, task.objectives, step)
        (uphill,) = torch.autograd.grad(windows, spectrum, slope)
        spectrum.grad = -_unit_rms(uphill)
        record.add(scores, pictures)
        adam.step()
        task.on_step(len(task.objectives))
    with torch.no_grad():
        return record.finish(spectrum_to_picture(spectrum, height, width, recipe.decay))


def _growth(schedule: Sequence[Octave]) -> list[float]:
    """Size of the picture in each octave, relative to the first canvas."""
    sizes, size = [], 1.0
    for octave in schedule:
        size *= octave.scale
        sizes.append(size)
    return sizes


def _climb_octaves(recipe: Octaves, task: Task) -> Climb:
    canvas, device = task.canvas, task.scorer.device
    shape = (task.channels, *canvas.size)
    pictures = noise(task.generators, shape, recipe.start_mean, recipe.start_sd).to(device)
    shares = crop_offsets(task.generators, recipe.total_steps, recipe.jitter)
    record = _Record(len(task.objectives))
    step = 0
    for octave, growth in zip(recipe.schedule, _growth(recipe.schedule), strict=True):
        pictures = enlarge(pictures, *(round(side * growth) for side in canvas.size))
        for iteration in range(octave.iterations):
            share = iteration / max(1, octave.iterations - 1)
            corners = _corners(shares[step], canvas, pictures)
            scores, slope = task.scorer.gradient(
                _cut(pictures, corners, canvas), task.objectives, step
            )
            record.add(scores, pictures)
            size = _between(octave.step, share) * recipe.step_scale
            pictures = _add(pictures, corners, size * _unit_mean(slope))
            pictures = blur(pictures, _between(octave.sigma, share))
            task.on_step(len(task.objectives))
            step += 1
    return record.finish(pictures)


def _between(ends: tuple[float, float], share: float) -> float:
    return ends[0] + share * (ends[1] - ends[0])


def _unit_mean(slope: Tensor) -> Tensor:
    """Scale each image's gradient to a mean absolute value of 1; all zero stays zero."""
    size = slope.abs().flatten(1).mean(1).clamp(min=1e-30)
    return slope / size.view(-1, 1, 1, 1)


def _corners(shares: Tensor, canvas: Canvas, pictures: Tensor) -> list[tuple[int, int]]:
    """Top and left of each image's window in its enlarged picture."""
    slack_y, slack_x = pictures.shape[2] - canvas.height, pictures.shape[3] - canvas.width
    return [(round(y * slack_y), round(x * slack_x)) for y, x in shares.tolist()]


def _cut(pictures: Tensor, corners: Sequence[tuple[int, int]], canvas: Canvas) -> Tensor:
    return torch.stack(
        [
            picture[:, top : top + canvas.height, left : left + canvas.width]
            for picture, (top, left) in zip(pictures, corners, strict=True)
        ]
    )


def _add(pictures: Tensor, corners: Sequence[tuple[int, int]], change: Tensor) -> Tensor:
    """Add each change to its window of a copy of the pictures, clipped to 0..255."""
    pictures = pictures.clone()
    height, width = change.shape[2:]
    for picture, (top, left), step in zip(pictures, corners, change, strict=True):
        picture[:, top : top + height, left : left + width] += step
    return pictures.clamp_(0, 255)
