"""Learning rates that fall while an ascent goes on."""

from __future__ import annotations

import math

__all__ = ["falling_rates"]


def falling_rates(first: float, share: float, steps: int) -> tuple[float, ...]:
    """Rates of all steps, which fall by half a cosine (Loshchilov and Hutter 2017, "SGDR").

    Args:
        first: of the first step.
        share: of it that is left in the last step; 1 keeps it.
        steps: 1 or more.
    """
    places = [step / max(1, steps - 1) for step in range(steps)]
    return tuple(first * (share + (1 - share) * (1 + math.cos(math.pi * place)) / 2) for place in places)
