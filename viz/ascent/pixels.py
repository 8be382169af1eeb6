"""Climbs in pixels: `octaves` and what builds on it, and `deepvis`."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pipeline.errors import RenderError
from viz.ascent.random_views import crop_offsets
from viz.ascent.task import Climb, Record, Task
from viz.canvas import Canvas
from viz.pixels import blur, denoise, enlarge, noise, shrink
from viz.recipes.kinds import Deepvis, Dream, Facets, Octaves

__all__ = ["climb_deepvis", "climb_octaves"]


STRETCH_TO = 110.0
"""How far from the mean colour, on 0..255, a stretched picture's strongest pixels lie."""

STRETCH_QUANTILE = 0.995
"""Those pixels."""


def climb_octaves(recipe: Octaves, task: Task) -> Climb:
    """Normalised gradient steps under a blur, in a picture that grows."""
    canvas = task.canvas
    photograph = _photograph(recipe, task)
    pictures = _start(recipe, task, photograph).to(task.scorer.device)
    shares = crop_offsets(task.generators, recipe.total_steps, recipe.jitter)
    record, step, growth = Record(len(task.objectives)), 0, 1.0
    for octave in recipe.schedule:
        growth *= octave.scale
        size = [round(side * growth) for side in canvas.size]
        pictures = _grow(pictures, (size[0], size[1]), photograph)
        for iteration in range(octave.iterations):
            share = iteration / max(1, octave.iterations - 1)
            corners = _corners(shares[step], canvas, pictures)
            windows = _cut(pictures, corners, canvas)
            scores, slope = task.scorer.gradient(windows, task.objectives, step)
            record.add(scores, pictures)
            length = _between(octave.step, share) * recipe.step_scale
            pictures = _add(pictures, corners, length * _unit_mean(slope))
            pictures = blur(pictures, _between(octave.sigma, share))
            if isinstance(recipe, Facets):
                pictures = denoise(pictures, recipe.variation)
            task.on_step(len(task.objectives))
            step += 1
    return record.finish(pictures)


def _photograph(recipe: Octaves, task: Task) -> Tensor | None:
    """What a dream's detail comes from."""
    return task.supplies.starts if isinstance(recipe, Dream) and recipe.detail else None


def _start(recipe: Octaves, task: Task, photograph: Tensor | None) -> Tensor:
    if not isinstance(recipe, Facets | Dream):
        shape = (task.channels, *task.canvas.size)
        return noise(task.generators, shape, recipe.start_mean, recipe.start_sd)
    if task.supplies.starts is None:
        needed = "a photograph" if isinstance(recipe, Dream) else "the images of an index"
        raise RenderError(f"recipe {recipe.name} needs {needed} to start from")
    return shrink(task.supplies.starts, *task.canvas.size)


def _grow(pictures: Tensor, size: tuple[int, int], photograph: Tensor | None) -> Tensor:
    """Enlarge; with a photograph, what was lost of its detail by being small comes back."""
    larger = enlarge(pictures, *size)
    if photograph is None or larger is pictures:
        return larger
    small = shrink(photograph.to(pictures.device), *pictures.shape[2:])
    lost = shrink(photograph.to(pictures.device), *size) - enlarge(small, *size)
    return (larger + lost).clamp(0, 255)


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


def climb_deepvis(recipe: Deepvis, task: Task) -> Climb:
    """Gradient steps around the mean colour, with decay, blur and clipping of weak pixels."""
    device = task.scorer.device
    mean = task.supplies.mean_colour.to(device).view(1, -1, 1, 1)
    shape = (task.channels, *task.canvas.size)
    pictures = noise(task.generators, shape, 0.0, recipe.start_sd, clip=False).to(device)
    pictures = (pictures + mean).clamp(0, 255)
    record = Record(len(task.objectives))
    for step in range(recipe.steps):
        scores, slope = task.scorer.gradient(pictures, task.objectives, step)
        record.add(scores, pictures)
        pictures = (pictures + _rate(recipe, slope) * slope).clamp(0, 255)
        pictures = mean + (1 - recipe.decay) * (pictures - mean)
        if recipe.sigma and step % recipe.blur_every == recipe.blur_every - 1:
            pictures = blur(pictures, recipe.sigma)
        offsets = pictures - mean
        if recipe.zero_norm:
            offsets = _without_least(offsets, offsets.norm(dim=1), recipe.zero_norm)
        if recipe.zero_contribution:
            contribution = (offsets * slope).sum(1).abs()
            offsets = _without_least(offsets, contribution, recipe.zero_contribution)
        pictures = mean + offsets
        task.on_step(len(task.objectives))
    return record.finish(mean + _stretched(pictures - mean) if recipe.stretch else pictures)


def _stretched(offsets: Tensor) -> Tensor:
    """Each picture's offsets from the mean colour, made as strong as they fit."""
    far = offsets.abs().flatten(1).quantile(STRETCH_QUANTILE, dim=1).clamp(min=1e-6)
    return offsets * (STRETCH_TO / far).clamp(min=1).view(-1, 1, 1, 1)


def _rate(recipe: Deepvis, slope: Tensor) -> Tensor:
    """(image, 1, 1, 1) rate of each image's step."""
    squared = slope.flatten(1).square().sum(1).clamp(min=1e-30).view(-1, 1, 1, 1)
    if not recipe.progress:
        return torch.full_like(squared, recipe.rate)
    return (recipe.progress / squared).clamp(max=recipe.rate)


def _without_least(offsets: Tensor, size: Tensor, percent: float) -> Tensor:
    """Zero the pixels whose size (image, y, x) is among the least of their picture."""
    least = size.flatten(1).quantile(percent / 100, dim=1).view(-1, 1, 1)
    return offsets * (size >= least)[:, None]
