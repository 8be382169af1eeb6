"""The judge: a second network whose features describe patches."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from pipeline.networks.network import Network
from viz.render.facets import penultimate

JUDGED = 16
"""Patches per batch."""


class Judge:
    """A second network that caches the features of every patch.

    Args:
        network: any network.
        memory: file in which the features are kept for the next run; None keeps none.
    """

    def __init__(self, network: Network, memory: Path | None = None) -> None:
        self.network, self.memory = network, memory
        self.known: dict[str, Tensor] = {}
        if memory is not None and memory.exists():
            self.known = torch.load(memory)

    def __call__(self, patches: Sequence[Tensor]) -> Tensor:
        """Compute the features of patches, enlarged to the size of the network's input.

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
            self.known |= zip(chunk, penultimate(self.network, pixels), strict=True)
        return torch.stack([self.known[name] for name, _ in named])

    def _enlarged(self, patch: Tensor) -> Tensor:
        size = self.network.preprocess.height, self.network.preprocess.width
        enlarged = functional.interpolate(patch[None].float(), size, mode="bicubic", antialias=True)
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


def accuracy(top: Tensor, low: Tensor, explanation: Tensor) -> float:
    """Compute the share of pairs of a top and a low patch in which the top patch is nearer.

    Args:
        top: (patch, feature), centred like the others.
        low: (patch, feature).
        explanation: (picture, feature).

    Returns:
        0..1. A tie counts half, so exchanging `top` and `low` gives one minus the result.
    """
    pictures = functional.normalize(explanation, dim=1)
    high, rest = ((functional.normalize(each, dim=1) @ pictures.T).mean(1) for each in (top, low))
    apart = high[:, None] - rest[None]
    right = int((apart > 0).sum()) + int((apart == 0).sum()) / 2
    return right / apart.numel()
