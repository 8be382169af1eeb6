"""The interface of what is added to a batch's scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from torch import Tensor

from pipeline.layers.layer import Layer
from viz.objectives.objective import View

if TYPE_CHECKING:
    pass

__all__ = ["Extra", "Look", "Views"]

Views = Mapping[str, View]
"""Activations by layer."""


Look = Callable[[Tensor, Sequence[str]], Views]
"""Shows pictures (image, channel, y, x) to the network, for some of the watched layers."""


class Extra(Protocol):
    """Something that a batch's scores are changed by."""

    @property
    def group(self) -> int:
        """Images of the batch that belong together and must share a pass."""

    @property
    def layers(self) -> Sequence[Layer]:
        """Layers that it may look at, besides those that the objectives read."""

    @property
    def window_layers(self) -> Sequence[str]:
        """Names of those of them that every pass over the pictures reads."""

    def __call__(
        self, scores: Tensor, views: Views, pictures: Tensor, images: Sequence[int], look: Look
    ) -> Tensor:
        """Changed scores.

        Args:
            scores: (image,) of a pass.
            views: of the objectives' layers and of `window_layers`.
            pictures: (image, channel, y, x) that the pass saw.
            images: the pass's numbers in the whole batch.
            look: at other pictures that depend on these.
        """
