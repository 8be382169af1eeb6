"""Options of the training of a prior."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.errors import RenderError
from pipeline.layers.layer import Layer

__all__ = ["PriorOptions", "code_grid"]


@dataclass(frozen=True, slots=True)
class PriorOptions:
    """Options of the training of a prior.

    Args:
        size: side of the decoded images in pixels; a power of two, at least twice `grid`.
        grid: maximum side of a code, a power of two. The features of the layer are averaged over
            a grid of this side, or of a smaller one if the layer's own grid is smaller.
        steps: number of training steps.
        batch: images per step.
        rate: initial learning rate of Adam; it decreases to 0 along a half cosine.
        adversarial: weight of the critic's score in the loss; 0 trains without a critic.
        seed: of the initial weights and of the order of the images.

    Raises:
        RenderError: if an option is out of range.
    """

    size: int = 64
    grid: int = 8
    steps: int = 1500
    batch: int = 16
    rate: float = 2e-3
    adversarial: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name, side in (("size", self.size), ("grid", self.grid)):
            if side < 1 or side & (side - 1):
                raise RenderError(f"a prior's {name} must be a power of two, got {side}")
        if self.size < 2 * self.grid:
            raise RenderError(
                f"a prior's size must be at least twice its grid of {self.grid}, got {self.size}"
            )
        if min(self.steps, self.batch) < 1 or self.rate <= 0 or self.adversarial < 0:
            raise RenderError(
                "a prior needs steps and batch of at least 1, a rate above 0, and an adversarial "
                f"weight of at least 0; got {self}"
            )


def code_grid(layer: Layer, options: PriorOptions) -> int:
    """Return the side of a layer's codes: the largest power of two within its grid and `options.grid`."""
    side = min(layer.grid_h, layer.grid_w, options.grid)
    return 1 << (side.bit_length() - 1)
