"""A judge: something other than the unit's network that describes patches by features."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

JUDGED = 16
"""Patches per batch."""


@dataclass(frozen=True, slots=True)
class Eye:
    """How a judge sees a batch of patches.

    Args:
        name: of the judge, as `--judge` gives it.
        digest: names the file of its features; another where it would see the same patch differently.
        side: height and width in pixels to which patches are enlarged.
        describe: from (patch, channel, y, x) uint8 to (patch, feature) float32.
    """

    name: str
    digest: str
    side: tuple[int, int]
    describe: Callable[[Tensor], Tensor]


class Judge:
    """Describes patches, and caches the features of every patch.

    Args:
        eye: how it sees.
        memory: file in which the features are kept for the next run; None keeps none.
    """

    def __init__(self, eye: Eye, memory: Path | None = None) -> None:
        self.eye, self.memory = eye, memory
        self.known: dict[str, Tensor] = {}
        if memory is not None and memory.exists():
            self.known = torch.load(memory)

    @property
    def name(self) -> str:
        """As `--judge` gives it."""
        return self.eye.name

    def __call__(self, patches: Sequence[Tensor]) -> Tensor:
        """Compute the features of patches, enlarged to the size that the judge sees.

        Args:
            patches: each (channel, y, x) uint8, of any size.

        Returns:
            (patch, feature) float32.
        """
        named = [(_digest(patch), patch) for patch in patches]
        new = {name: patch for name, patch in named if name not in self.known}
        names = list(new)
        for first in range(0, len(names), JUDGED):
            chunk = names[first : first + JUDGED]
            pixels = torch.cat([self._enlarged(new[name]) for name in chunk])
            self.known |= zip(chunk, self.eye.describe(pixels), strict=True)
        return torch.stack([self.known[name] for name, _ in named])

    def _enlarged(self, patch: Tensor) -> Tensor:
        enlarged = functional.interpolate(patch[None].float(), self.eye.side, mode="bicubic", antialias=True)
        return enlarged.round().clamp(0, 255).to(torch.uint8)

    def save(self) -> None:
        """Write the cache to its file atomically."""
        if self.memory is not None:
            new = self.memory.with_suffix(".new")
            torch.save({name: feature.clone() for name, feature in self.known.items()}, new)
            new.replace(self.memory)


def _digest(patch: Tensor) -> str:
    shape = "x".join(str(length) for length in patch.shape)
    return hashlib.sha256(f"{shape} ".encode() + patch.contiguous().numpy().tobytes()).hexdigest()


def answer(top: Tensor, low: Tensor, explanation: Tensor) -> tuple[float, ...]:
    """Answer for each pair of a top and a low patch whether the top patch is nearer.

    Args:
        top: (patch, feature), centred like the others.
        low: (patch, feature).
        explanation: (picture, feature).

    Returns:
        For each top patch and each low patch: 1 if the top patch is nearer, 0 if the low one is, 0.5
        for a tie.
    """
    pictures = functional.normalize(explanation, dim=1)
    high, rest = ((functional.normalize(each, dim=1) @ pictures.T).mean(1) for each in (top, low))
    apart = (high[:, None] - rest[None]).flatten()
    return tuple(((apart > 0) + (apart == 0) / 2).tolist())


def accuracy(top: Tensor, low: Tensor, explanation: Tensor) -> float:
    """Compute the share of pairs of a top and a low patch in which the top patch is nearer.

    Returns:
        0..1. A tie counts half, so exchanging `top` and `low` gives one minus the result.
    """
    answers = answer(top, low, explanation)
    return sum(answers) / len(answers)
