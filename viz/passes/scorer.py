"""A network as a function from pictures to scores and gradients, stopped at the last layer read.

Hooks are there while the context is open. Weights are frozen, so that a backward pass ends at the
picture. A batch goes through in passes of a few images; convolutions on the CPU give an image the
same bits in a pass of 2 as in a pass of 8, but not in a pass of 1 (measured: oneDNN 3, float32,
one thread), so that a pass never has one image; see `viz.passes.workers` for the threads.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import get_args

import torch
from torch import Tensor

from pipeline.choices import RenderPrecision
from pipeline.errors import RenderError
from viz.objectives.objective import Objective, View, evaluate
from viz.passes.fast_ops import QuickConvolutions
from viz.passes.folding import find_folding
from viz.passes.relu import relu_rule
from viz.passes.score_term import Extra
from viz.passes.watch import PASS_IMAGES, PASS_IMAGES_CUDA, Watch
from viz.passes.workers import Workers
from viz.recipes.kinds import ReluRule

__all__ = ["Scorer", "resolve_precision"]


def resolve_precision(precision: RenderPrecision, device: torch.device) -> RenderPrecision:
    """`auto` is bf16 where the processor computes in it, fp32 elsewhere.

    Raises:
        RenderError: for another word.
    """
    if precision not in get_args(RenderPrecision):
        known = ", ".join(get_args(RenderPrecision))
        raise RenderError(f"precision must be one of {known}, got {precision!r}")
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported() else "fp32"
    able = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return "bf16" if able.get("avx512_bf16") or able.get("amx_bf16") else "fp32"


class Scorer:
    """Scores of pictures under objectives, and the gradients that raise them.

    Args:
        watch: open.
        relu: rule during the climb.
        relu_steps: the rule holds for this many steps; 0 means always.
        precision: of the network's pass.
        extra: changes the scores.
        workers: open; passes run side by side on them. None: one after another.
    """

    def __init__(
        self,
        watch: Watch,
        *,
        relu: ReluRule = "plain",
        relu_steps: int = 0,
        precision: RenderPrecision = "fp32",
        extra: Extra | None = None,
        workers: Workers | None = None,
    ) -> None:
        self.watch = watch
        self.relu: ReluRule = relu
        self.relu_steps = relu_steps
        self.extra = extra
        self.workers = workers
        parameter = next(watch.network.module.parameters(), None)
        self.device = torch.device("cpu") if parameter is None else parameter.device
        self.precision = resolve_precision(precision, self.device)
        folding = find_folding(watch.network.module, self._glance)
        self.folding = folding.to(torch.bfloat16) if self.precision == "bf16" else folding

    def gradient(
        self,
        pictures: Tensor,
        objectives: Sequence[Objective],
        step: int,
        images: Sequence[int] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Score a batch and differentiate each score by its own picture.

        Args:
            pictures: (image, channel, y, x) on 0..255, no graph needed.
            objectives: one per image.
            step: number of the step, from 0.
            images: numbers of the pictures in the whole batch, where it is not all of it.

        Returns:
            scores (image,) and gradients (image, channel, y, x), both float32.
        """
        numbers = list(range(len(pictures)) if images is None else images)

        def run(part: slice) -> tuple[Tensor, Tensor]:
            return self._pass(pictures[part], objectives[part], step, numbers[part])

        parts = self._parts(len(pictures))
        done = self.workers.map(run, parts) if self.workers else [run(part) for part in parts]
        return torch.cat([scores for scores, _ in done]), torch.cat([slope for _, slope in done])

    def features(
        self, pictures: Tensor, objectives: Sequence[Objective], layer: str
    ) -> list[tuple[Tensor, Tensor]]:
        """Each picture's score and its features (unit, y, x) at a layer, without a gradient."""
        found: list[tuple[Tensor, Tensor]] = []
        with torch.no_grad(), QuickConvolutions(self.folding), self._autocast():
            for part in self._parts(len(pictures)):
                chunk, chosen, images = self._never_one(pictures[part], objectives[part])
                views = self.watch(chunk)
                scores = evaluate(chosen, views)
                values = views[layer].values.float()
                found += list(zip(scores[:images], values[:images], strict=True))
        return found

    def look(self, pictures: Tensor, names: Sequence[str]) -> dict[str, View]:
        """Activations of some of the watched layers, without a gradient, as the climb sees them."""
        with torch.no_grad(), QuickConvolutions(self.folding), self._autocast():
            return self.watch(pictures.to(self.device), names)

    def _glance(self) -> list[Tensor]:
        """Activations of the same two random pictures whenever called."""
        canvas, shape = self.watch.canvas, self.watch.network.input_shape
        # Layers beyond the target may not fit a window that was cut for it.
        whole = canvas is None or (self.extra is not None and len(self.extra.layers) > 0)
        size = shape[1:] if canvas is None or whole else (canvas.height, canvas.width)
        generator = torch.Generator().manual_seed(0)
        pictures = 255 * torch.rand((2, shape[0], *size), generator=generator)
        views = self.watch(pictures.to(self.device))
        return [view.values.float() for view in views.values()]

    def _parts(self, images: int) -> list[slice]:
        """Passes that keep together what belongs together."""
        width = PASS_IMAGES if self.device.type == "cpu" else PASS_IMAGES_CUDA
        if self.workers and images < width * self.workers.count:
            width = max(2, math.ceil(images / self.workers.count))
        group = self.extra.group if self.extra else 1
        width = max(group, width // group * group)
        return [slice(first, first + width) for first in range(0, images, width)]

    def _never_one(
        self, pictures: Tensor, objectives: Sequence[Objective]
    ) -> tuple[Tensor, Sequence[Objective], int]:
        """A pass of two instead of one on the CPU, and how many of its images are real."""
        if len(pictures) > 1 or self.device.type != "cpu":
            return pictures, objectives, len(pictures)
        return pictures.repeat(2, 1, 1, 1), [objectives[0]] * 2, 1

    def _pass(
        self, pictures: Tensor, objectives: Sequence[Objective], step: int, numbers: Sequence[int]
    ) -> tuple[Tensor, Tensor]:
        leaf, objectives, images = self._never_one(pictures.detach(), objectives)
        leaf = leaf.requires_grad_()
        names = {layer.name for objective in objectives for layer in objective.layers}
        names |= set(self.extra.window_layers if self.extra else ())

        def look(seen: Tensor, wanted: Sequence[str]) -> dict[str, View]:
            rule = relu_rule(self._rule(step))
            with rule, QuickConvolutions(self.folding), self._autocast():
                return self.watch(seen, wanted)

        with torch.enable_grad():
            views = look(leaf, sorted(names))
            with self._autocast():
                scores = evaluate(objectives, views)
            if self.extra is not None:
                shown = [numbers[place % images] for place in range(len(leaf))]
                scores = self.extra(scores, views, leaf, shown, look)
        (slope,) = torch.autograd.grad(scores.sum(), leaf)
        return scores.detach()[:images], slope[:images].float()

    def _rule(self, step: int) -> ReluRule:
        return self.relu if self.relu_steps == 0 or step < self.relu_steps else "plain"

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16")
