"""Small perturbations of pictures that change what a function of them gives as much as they can.

Projected gradient ascent in the L2 norm (Madry et al. 2018, "Towards Deep Learning Models Resistant to
Adversarial Attacks"), from a random start and in one step, which suffices for training (Wong, Rice and
Kolter 2020, "Fast is better than free").
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Generator, Tensor

__all__ = ["perturb"]

START = 0.5
"""Length of the random start, as a share of the allowed length."""


def perturb(
    distance: Callable[[Tensor], Tensor], pictures: Tensor, noise: float, generator: Generator, steps: int = 1
) -> Tensor:
    """Change pictures so that a distance becomes large.

    Args:
        distance: of pictures (image, channel, y, x) from what they were, (image,), differentiable.
        pictures: (image, channel, y, x) float.
        noise: highest root mean square of the change, in the units of the pixels.
        generator: of the random start, on the CPU.
        steps: of gradient ascent.

    Returns:
        The changed pictures; they may leave the range of the pixels.
    """
    length = noise * math.sqrt(pictures[0].numel())
    change = torch.randn(pictures.shape, generator=generator).to(pictures)
    change = change * (START * length / _norm(change))
    step = length if steps == 1 else 1.5 * length / steps
    for _ in range(steps):
        with torch.enable_grad():
            leaf = change.requires_grad_(True)
            (slope,) = torch.autograd.grad(distance(pictures + leaf).sum(), leaf)
        change = change.detach() + slope * (step / _norm(slope))
        change = change * (length / _norm(change)).clamp(max=1)
    return (pictures + change).detach()


def _norm(values: Tensor) -> Tensor:
    """(image, 1, 1, 1): length of each, never 0."""
    lengths: Tensor = values.flatten(1).norm(dim=1)
    return lengths.clamp(min=1e-12).view(-1, 1, 1, 1)
