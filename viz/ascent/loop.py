"""The loop of gradient ascent, the same for every recipe.

values ─► pictures ─► random views ─► network ─► scores
   ▲                                                │ gradient
   └───────────────── optimiser ◄───────────────────┘
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from viz.ascent.checkpoint import Checkpoint, Stateful
from viz.ascent.history import AscentResult, History
from viz.ascent.optimisers import Optimiser
from viz.ascent.parametrisation import Parametrisation
from viz.ascent.random_views import RandomViews, WholePicture
from viz.ascent.score_terms import ScoreTerm
from viz.objectives.objective import Objective
from viz.passes.scorer import Scorer

__all__ = ["Ascent", "Observer", "OnStep", "ascend"]

OnStep = Callable[[int], None]
"""Told after each step how many image-steps were done."""


class Observer(Protocol):
    """Is shown the pictures while they are optimised."""

    def see(self, step: int, steps: int, scores: Tensor, pictures: Tensor) -> None:
        """Look at one step; what it raises ends the ascent.

        Args:
            step: its number, from 0.
            steps: of the whole ascent.
            scores: (image,) of the pictures.
            pictures: (image, channel, y, x) on 0..255, of the images that are still optimised; not to be
                changed.
        """


@dataclass(frozen=True, slots=True)
class Ascent:
    """How the pictures of one batch are optimised.

    Args:
        steps: gradient steps.
        start: (image, ...) values at the start.
        parametrisation: turns values into pictures.
        optimiser: moves the values; of this batch alone, since it may keep moments.
        views: what of the pictures the network is shown.
        score_term: changes the scores.
        patience: an image is finished when its smoothed score has not risen for this many steps;
            0 means never.
        keep_scored: a finished image keeps the picture that was scored last, not the one after the
            optimiser's step.
        importance: keep how much each pixel mattered to the scores.
    """

    steps: int
    start: Tensor
    parametrisation: Parametrisation
    optimiser: Optimiser
    views: RandomViews = field(default_factory=WholePicture)
    score_term: ScoreTerm | None = None
    patience: int = 0
    keep_scored: bool = False
    importance: bool = False


def ascend(
    ascent: Ascent,
    scorer: Scorer,
    objectives: Sequence[Objective],
    on_step: OnStep,
    checkpoint: Checkpoint | None = None,
    observer: Observer | None = None,
) -> AscentResult:
    """Optimise the pictures of a batch.

    Args:
        ascent: of the batch, as planned anew from the batch's own generators.
        scorer: of the network, with the same score term.
        objectives: one per image.
        on_step: told of progress.
        checkpoint: continued from where there is one, and saved as time passes.
        observer: is shown every step.

    Raises:
        RenderError: when the checkpoint is not of this ascent.
        StoreError: when it cannot be written.
    """
    values = ascent.start.to(scorer.device)
    first, history, importance = 0, History(len(objectives), ascent.patience), None
    if ascent.score_term is not None:
        ascent.score_term.prepare(scorer, objectives)
    saved = checkpoint.load(scorer.device) if checkpoint else None
    if checkpoint and saved:
        with checkpoint.refuse_other():
            first, values, importance = _restore(saved, ascent, history)
            on_step(first * len(history.active) + ascent.steps * (len(objectives) - len(history.active)))
    for step in range(first, ascent.steps):
        if not history.active:
            break
        if checkpoint and checkpoint.is_due:
            checkpoint.save(_state(step, values, importance, ascent, history))
        images = history.active
        values = ascent.parametrisation.grow(values, step).requires_grad_()
        pictures = ascent.parametrisation.pictures(values)
        scores, by_pixel = _score(ascent, scorer, pictures, objectives, step, images)
        if ascent.importance:
            importance = _added(importance, by_pixel, images, len(objectives))
        history.add(scores, pictures)
        if observer is not None:
            observer.see(step, ascent.steps, scores.detach(), pictures.detach())
        (gradient,) = torch.autograd.grad(pictures, values, by_pixel)
        values = ascent.optimiser.step(values.detach(), gradient, step)
        on_step(len(images))
        stay = history.drop_finished(_final_picture(ascent, pictures, values))
        if stay is not None:
            on_step((len(images) - len(stay)) * (ascent.steps - step - 1))
            values = values[stay]
            ascent.optimiser.keep(stay)
    if checkpoint and checkpoint.exists:
        # A second attempt at some of the pictures may follow, and must not lose the first.
        checkpoint.save(_state(ascent.steps, values, importance, ascent, history))
    with torch.no_grad():
        return history.finish(ascent.parametrisation.pictures(values) if history.active else (), importance)


def _stateful(ascent: Ascent, history: History) -> dict[str, Stateful]:
    """What changes from step to step besides the values."""
    parts: dict[str, Stateful] = {"optimiser": ascent.optimiser, "views": ascent.views, "history": history}
    return parts if ascent.score_term is None else {**parts, "score_term": ascent.score_term}


def _state(
    step: int, values: Tensor, importance: Tensor | None, ascent: Ascent, history: History
) -> dict[str, Any]:
    """The content of a checkpoint: everything as it is before a step."""
    parts = {name: part.state() for name, part in _stateful(ascent, history).items()}
    return {"step": step, "values": values.detach(), "importance": importance, **parts}


def _restore(saved: dict[str, Any], ascent: Ascent, history: History) -> tuple[int, Tensor, Tensor | None]:
    """Step, values and importance of a checkpoint, whose other parts are restored."""
    for name, part in _stateful(ascent, history).items():
        part.restore(saved[name])
    return saved["step"], saved["values"], saved["importance"]


def _score(
    ascent: Ascent,
    scorer: Scorer,
    pictures: Tensor,
    objectives: Sequence[Objective],
    step: int,
    images: Sequence[int],
) -> tuple[Tensor, Tensor]:
    """Each picture's score, the mean over its views, and the gradient by its pixels."""
    leaf = pictures.detach().requires_grad_()
    view = ascent.views.at_step(step, images)
    chosen = [objectives[image] for image in images]
    if ascent.score_term is not None:
        ascent.score_term.before_step(scorer, view, chosen, images)
    seen, copies = view(leaf), range(ascent.views.copies)
    scores, slope = scorer.gradient(
        seen, [each for each in chosen for _ in copies], step, [image for image in images for _ in copies]
    )
    (by_pixel,) = torch.autograd.grad(seen, leaf, ascent.optimiser.scale_view(slope))
    return scores.view(-1, len(copies)).mean(1), by_pixel


def _added(importance: Tensor | None, by_pixel: Tensor, images: Sequence[int], count: int) -> Tensor:
    """(image, 1, y, x) importance so far, with that of one step."""
    if importance is None:
        importance = by_pixel.new_zeros(count, 1, *by_pixel.shape[2:])
    importance[images] += by_pixel.abs().mean(1, keepdim=True)
    return importance


def _final_picture(ascent: Ascent, scored: Tensor, values: Tensor) -> Callable[[int], Tensor]:
    """The picture that an image keeps when it has finished, by its place among the active ones."""
    if ascent.keep_scored:
        return lambda place: scored[place]
    return lambda place: ascent.parametrisation.pictures(values[place : place + 1])[0]
