"""Climbs in the spectrum of a picture: `fourier`, `accentuate`, `maco`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

import torch
from torch import Tensor

from pipeline.errors import RenderError
from viz.ascent.likeness import Likeness
from viz.ascent.parametrisation import (
    phases_to_picture,
    picture_to_spectrum,
    spectrum_noise,
    spectrum_to_picture,
)
from viz.ascent.random_views import draw_affine, draw_crops, sample
from viz.ascent.score_terms import Near
from viz.ascent.task import Climb, Record, Task
from viz.pixels import blur
from viz.recipes.kinds import Accentuate, Fourier, Maco, Typical

__all__ = ["climb_fourier", "climb_maco"]

MOMENTS = (0.9, 0.999)
"""Decay of Adam's first and second moment, its authors' and Lucid's."""

EPSILON = 1e-8
"""Keeps Adam from dividing by zero."""

NESTEROV_DECAY = 0.004
"""Momentum decay of NAdam (Dozat 2016, as in PyTorch)."""


class _Adam:
    """Adam that climbs, item by item; with `nesterov` it is NAdam."""

    def __init__(self, values: Tensor, rate: float, *, nesterov: bool = False) -> None:
        self.first, self.second = torch.zeros_like(values), torch.zeros_like(values)
        self.rate, self.nesterov = rate, nesterov
        self.steps, self.product = 0, 1.0

    def step(self, values: Tensor, uphill: Tensor) -> Tensor:
        """The values after one step along a gradient."""
        slow, slower = MOMENTS
        self.steps += 1
        self.first.lerp_(uphill, 1 - slow)
        self.second.mul_(slower).addcmul_(uphill, uphill, value=1 - slower)
        size = self.second.sqrt().div_(math.sqrt(1 - slower**self.steps)).add_(EPSILON)
        if not self.nesterov:
            return values.addcdiv(self.first, size, value=self.rate / (1 - slow**self.steps))
        now, following = (
            slow * (1 - 0.5 * math.pow(0.96, step * NESTEROV_DECAY)) for step in (self.steps, self.steps + 1)
        )
        self.product *= now
        ahead = (1 - now) / (1 - self.product) * uphill
        ahead = ahead + following / (1 - self.product * following) * self.first
        return values.addcdiv(ahead, size, value=self.rate)

    def keep(self, places: Sequence[int]) -> None:
        """Go on with some of the items."""
        self.first, self.second = self.first[places], self.second[places]


def _unit_rms(slope: Tensor) -> Tensor:
    """Scale each image's gradient to a root mean square of 1; all zero stays zero."""
    flat = slope.flatten(1)
    size = flat.norm(dim=1).div_(math.sqrt(flat.shape[1])).clamp_(min=1e-30)
    scaled: Tensor = slope / size.view(-1, *[1] * (slope.ndim - 1))
    return scaled


def climb_fourier(recipe: Fourier, task: Task) -> Climb:
    """Adam on a decorrelated spectrum under random views."""
    canvas, device = task.canvas, task.scorer.device
    height, width = canvas.size
    spectrum = _start(recipe, task).to(device)
    views = draw_affine(
        task.generators,
        recipe.steps,
        jitter=recipe.jitter,
        scale=recipe.scale,
        rotate=recipe.rotate,
        rotate_zeros=recipe.rotate_zeros,
    ).to(device)
    adam, record = _Adam(spectrum, recipe.rate), Record(len(task.objectives), recipe.patience)
    if isinstance(task.scorer.extra, Likeness):
        patches = _given(recipe, task.supplies.patches)
        task.scorer.extra.prepare(task.scorer.look, patches, task.objectives)

    def paint(spectrum: Tensor) -> Tensor:
        return spectrum_to_picture(spectrum, height, width, recipe.decay)

    for step in range(recipe.steps):
        images = record.active
        spectrum.requires_grad_()
        pictures = paint(spectrum)
        seen = views[step][images]
        windows = sample(pictures, seen, canvas.height, canvas.width)
        if isinstance(task.scorer.extra, Near) and task.supplies.starts is not None:
            starts = task.supplies.starts[images].to(device)
            originals = sample(starts, seen, canvas.height, canvas.width)
            task.scorer.extra.look(task.scorer, originals, task.objectives_of(images), images)
        scores, slope = task.scorer.gradient(windows, task.objectives_of(images), step, images)
        (uphill,) = torch.autograd.grad(windows, spectrum, slope)
        record.add(scores, pictures)
        spectrum = adam.step(spectrum.detach(), _unit_rms(uphill))
        task.on_step(len(images))
        stay = record.settle(lambda place, now=spectrum: paint(now[place : place + 1])[0])  # type: ignore[misc]
        if stay is not None:
            task.on_step((len(images) - len(stay)) * (recipe.steps - step - 1))
            spectrum = spectrum[stay]
            adam.keep(stay)
        if not record.active:
            return _smoothed(recipe, record.finish(None))
    return _smoothed(recipe, record.finish(paint(spectrum)))


def _start(recipe: Fourier, task: Task) -> Tensor:
    noise = spectrum_noise(task.generators, (task.channels, *task.canvas.size), recipe.start_sd)
    if not isinstance(recipe, Accentuate | Typical):
        return noise
    spectrum = picture_to_spectrum(_given(recipe, task.supplies.starts), recipe.decay)
    return spectrum + noise if isinstance(recipe, Typical) else spectrum


Given = TypeVar("Given")


def _given(recipe: Fourier, supplied: Given | None) -> Given:
    """What only an index can supply."""
    if supplied is None:
        raise RenderError(f"recipe {recipe.name} needs the images of an index")
    return supplied


def _smoothed(recipe: Fourier, climb: Climb) -> Climb:
    """The same pictures without what is finer than their likeness reaches."""
    if not isinstance(recipe, Typical):
        return climb
    last, best = (blur(each, recipe.smooth) for each in (climb.pictures, climb.best))
    return replace(climb, pictures=last, best=best)


def climb_maco(recipe: Maco, task: Task) -> Climb:
    """NAdam on phases; the score of a picture is the mean over its random crops."""
    if task.supplies.magnitudes is None:
        raise RenderError(f"recipe {recipe.name} needs the images of an index")
    canvas, device = task.canvas, task.scorer.device
    magnitudes = task.supplies.magnitudes.to(device)
    height, width = (round(side * recipe.enlarge) for side in canvas.size)
    shape = (*magnitudes.shape,)
    phases = torch.stack([torch.randn(shape, generator=generator) for generator in task.generators]).to(
        device
    )
    crops = draw_crops(
        task.generators,
        recipe.steps,
        recipe.crops,
        size=recipe.crop_size,
        size_sd=recipe.crop_sd,
        centre_sd=recipe.centre_sd,
        picture=(height, width),
        window=(canvas.height, canvas.width),
    ).to(device)
    adam = _Adam(phases, recipe.rate, nesterov=True)
    record = Record(len(task.objectives), recipe.patience)
    mattered = torch.zeros(len(task.objectives), 1, height, width, device=device)
    for step in range(recipe.steps):
        images = record.active
        phases.requires_grad_()
        pictures = phases_to_picture(phases, magnitudes, height, width)
        leaf = pictures.detach().requires_grad_()
        windows = sample(
            leaf.repeat_interleave(recipe.crops, dim=0),
            crops[step][images].flatten(0, 1),
            canvas.height,
            canvas.width,
        )
        noisy = windows + _noise(recipe, task, images, windows)
        objectives = [each for each in task.objectives_of(images) for _ in range(recipe.crops)]
        scores, slope = task.scorer.gradient(noisy, objectives, step)
        (by_pixel,) = torch.autograd.grad(windows, leaf, slope)
        mattered[images] += by_pixel.abs().mean(1, keepdim=True)
        (uphill,) = torch.autograd.grad(pictures, phases, by_pixel)
        record.add(scores.view(-1, recipe.crops).mean(1), pictures)
        phases = adam.step(phases.detach(), _unit_rms(uphill))
        task.on_step(len(images))
        stay = record.settle(lambda place, now=pictures: now[place])  # type: ignore[misc]
        if stay is not None:
            task.on_step((len(images) - len(stay)) * (recipe.steps - step - 1))
            phases = phases[stay]
            adam.keep(stay)
        if not record.active:
            return record.finish(None, _opacity(mattered))
    return record.finish(phases_to_picture(phases, magnitudes, height, width), _opacity(mattered))


def _noise(recipe: Maco, task: Task, images: Sequence[int], windows: Tensor) -> Tensor:
    """Gaussian noise and uniform noise of half its size, from each image's own generator."""
    shape = (recipe.crops, *windows.shape[1:])
    drawn = []
    for image in images:
        generator = task.generators[image]
        gaussian = torch.randn(shape, generator=generator)
        uniform = torch.rand(shape, generator=generator) - 0.5
        drawn.append(255 * recipe.noise * (gaussian + uniform))
    return torch.cat(drawn).to(windows.device)


def _opacity(mattered: Tensor) -> Tensor:
    """How much each pixel mattered, on 0..255; the strongest fifth is opaque."""
    flat = mattered.flatten(1)
    full = flat.quantile(0.8, dim=1).clamp(min=1e-30).view(-1, 1, 1, 1)
    return 255 * (mattered / full).clamp(max=1)
