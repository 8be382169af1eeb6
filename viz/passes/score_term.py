"""The interface of additional terms of a batch's scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from torch import Tensor

from pipeline.layers.layer import Layer
from viz.objectives.objective import View

__all__ = ["Extra", "Look", "Views"]

Views = Mapping[str, View]
"""Activations by layer."""


Look = Callable[[Tensor, Sequence[str]], Views]
"""Runs the network on pictures (image, channel, y, x); returns some of the watched layers."""


class Extra(Protocol):
    """A term that changes the scores of a batch, such as diversity."""

    @property
    def group(self) -> int:
        """Number of consecutive images that must be in the same pass."""

    @property
    def layers(self) -> Sequence[Layer]:
        """Layers that the term reads, besides those of the objectives."""

    @property
    def window_layers(self) -> Sequence[str]:
        """Names of those of its layers that are read in every pass over the pictures."""

    def __call__(
        self, scores: Tensor, views: Views, pictures: Tensor, images: Sequence[int], look: Look
    ) -> Tensor:
        """Change the scores of a pass.

        Args:
            scores: (image,).
            views: activations of the objectives' layers and of `window_layers`.
            pictures: (image, channel, y, x), the input of the pass.
            images: indices of the pictures in the whole batch.
            look: runs the network on other pictures that depend on these.

        Returns:
            The changed scores, (image,).
        """
