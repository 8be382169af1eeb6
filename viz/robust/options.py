"""Options of the training of a robust copy."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.errors import RenderError

__all__ = ["RobustOptions"]


@dataclass(frozen=True, slots=True)
class RobustOptions:
    """Options of the training of a robust copy.

    Args:
        steps: number of training steps.
        batch: crops per step.
        noise: root mean square of the perturbation of a pixel, on 0..255.
        size: side of the crops in pixels; the whole input's where the network takes no other.
        rate: highest learning rate of Adam; it rises from 0 and falls along half a cosine.
        seed: of the crops and of the perturbations.

    Raises:
        RenderError: if an option is out of range.
    """

    steps: int = 2000
    batch: int = 16
    noise: float = 2.0
    size: int = 112
    rate: float = 3e-4
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("steps", 1), ("batch", 2), ("size", 32)):
            if getattr(self, name) < least:
                raise RenderError(
                    f"a robust copy needs {name} of at least {least}, got {getattr(self, name)}"
                )
        for name in ("noise", "rate"):
            if not 0 < getattr(self, name) <= 255:
                raise RenderError(
                    f"a robust copy's {name} must be above 0 and at most 255, got {getattr(self, name)}"
                )
