"""Compute scores of pictures and their gradients, running the network up to the last layer needed.

Weights are frozen, so that a backward pass ends at the picture. A batch is split into passes of a few
images. Convolutions on the CPU give an image the same bits in a pass of 2 as in a pass of 8, but not
in a pass of 1 (measured: oneDNN 3, float32, one thread), so that a pass never has one image; see
`viz.passes.workers` for the threads.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from pipeline.choices import AskedPrecision
from pipeline.devices import resolve_precision
from pipeline.networks.network import device_of
from viz.choices import ReluRule
from viz.objectives.objective import Objective, View, evaluate
from viz.passes.fast_ops import QuickConvolutions
from viz.passes.folding import cached_folding
from viz.passes.relu import relu_rule
from viz.passes.score_term import Extra
from viz.passes.watch import PASS_IMAGES, PASS_IMAGES_CUDA, Watch
from viz.passes.workers import Workers

__all__ = ["Scorer"]


class Scorer:
    """Scores of pictures under objectives, and their gradients.

    Args:
        watch: open.
        relu: rule for the ReLUs.
        relu_steps: number of steps that follow the rule; 0 means all.
        precision: of the network's passes.
        extra: an additional term of the scores.
        workers: open; run passes in parallel. None: one after another.
    """

    def __init__(
        self,
        watch: Watch,
        *,
        relu: ReluRule = "plain",
        relu_steps: int = 0,
        precision: AskedPrecision = "fp32",
        extra: Extra | None = None,
        workers: Workers | None = None,
    ) -> None:
        self.watch = watch
        self.relu: ReluRule = relu
        self.relu_steps = relu_steps
        self.extra = extra
        self.workers = workers
        self.device = device_of(watch.network)
        self.precision = resolve_precision(precision, self.device)
        self.folding = cached_folding(
            watch.network.module,
            self._sample_activations,
            key=(watch.layers, watch.canvas, self._sample_size),
            dtype=torch.bfloat16 if self.precision == "bf16" else torch.float32,
        )

    def gradient(
        self,
        pictures: Tensor,
        objectives: Sequence[Objective],
        step: int,
        images: Sequence[int] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Score a batch, and differentiate each score with respect to its own picture.

        Args:
            pictures: (image, channel, y, x) on 0..255; detached.
            objectives: one per image.
            step: index of the step, from 0.
            images: indices of the pictures in the whole batch, if they are a part of it.

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
        """Each picture's score and its activations (unit, y, x) at a layer, without gradients."""
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
        """Activations of some of the watched layers, without gradients, in the scorer's precision."""
        with torch.no_grad(), QuickConvolutions(self.folding), self._autocast():
            return self.watch(pictures.to(self.device), names)

    @property
    def _sample_size(self) -> tuple[int, int]:
        """Rows and columns of the pictures on which a folding is verified."""
        canvas, (_, height, width) = self.watch.canvas, self.watch.network.input_shape
        # Layers behind the target may not fit a window that was cut for it.
        whole = canvas is None or (self.extra is not None and len(self.extra.layers) > 0)
        return (height, width) if canvas is None or whole else (canvas.height, canvas.width)

    def _sample_activations(self) -> list[Tensor]:
        """The watched layers' activations on two random pictures, the same at every call."""
        generator = torch.Generator().manual_seed(0)
        shape = (2, self.watch.network.input_shape[0], *self._sample_size)
        pictures = 255 * torch.rand(shape, generator=generator)
        views = self.watch(pictures.to(self.device))
        return [view.values.float() for view in views.values()]

    def _parts(self, images: int) -> list[slice]:
        """The slices of the batch that are run in one pass; groups are not split."""
        width = PASS_IMAGES if self.device.type == "cpu" else PASS_IMAGES_CUDA
        if self.workers and images < width * self.workers.count:
            width = max(2, math.ceil(images / self.workers.count))
        group = self.extra.group if self.extra else 1
        width = max(group, width // group * group)
        return [slice(first, first + width) for first in range(0, images, width)]

    def _never_one(
        self, pictures: Tensor, objectives: Sequence[Objective]
    ) -> tuple[Tensor, Sequence[Objective], int]:
        """Duplicate a single image on the CPU; returns the number of distinct images too."""
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
