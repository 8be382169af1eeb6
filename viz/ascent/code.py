"""The climb in a generator's code: `prior` (Nguyen et al. 2016, DGN-AM)."""

from __future__ import annotations

import torch
from torch import Tensor

from pipeline.errors import RenderError
from viz.ascent.task import Climb, Record, Task
from viz.pixels import shrink
from viz.recipes.code import Latent

__all__ = ["climb_code"]


def climb_code(recipe: Latent, task: Task) -> Climb:
    """Normalised gradient steps on a code that shrinks and stays within the dataset's range."""
    if task.supplies.prior is None:
        raise RenderError(
            f"recipe {recipe.name} needs a generator: train one with `maxact prior train`, or give "
            "your own with --generator"
        )
    device = task.scorer.device
    prior = task.supplies.prior.to(device)
    codes = recipe.start_sd * torch.stack(
        [torch.randn(prior.code_shape, generator=generator) for generator in task.generators]
    ).to(device)
    codes = codes.clamp(prior.lower, prior.upper)
    record = Record(len(task.objectives), recipe.patience)
    canvas = task.canvas

    def paint(codes: Tensor) -> Tensor:
        made = torch.cat([prior.decode(code[None]) for code in codes])
        return shrink(made, *canvas.size)

    for step in range(recipe.steps):
        images = record.active
        codes.requires_grad_()
        pictures = paint(codes)
        scores, slope = task.scorer.gradient(pictures, task.objectives_of(images), step, images)
        (uphill,) = torch.autograd.grad(pictures, codes, slope)
        record.add(scores, pictures)
        share = step / max(1, recipe.steps - 1)
        length = recipe.step[0] + share * (recipe.step[1] - recipe.step[0])
        size = uphill.abs().flatten(1).mean(1).clamp(min=1e-30)
        moved = codes.detach() + length * uphill / size.view(-1, *[1] * (codes.ndim - 1))
        codes = (recipe.shrink * moved).clamp(prior.lower, prior.upper)
        task.on_step(len(images))
        stay = record.settle(lambda place, now=codes: paint(now[place : place + 1])[0])  # type: ignore[misc]
        if stay is not None:
            task.on_step((len(images) - len(stay)) * (recipe.steps - step - 1))
            codes = codes[stay]
        if not record.active:
            return record.finish(None)
    with torch.no_grad():
        return record.finish(paint(codes))
