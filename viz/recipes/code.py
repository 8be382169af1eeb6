"""The recipe whose image is a generator's: `prior`."""

from __future__ import annotations

from dataclasses import dataclass

from viz.recipes.base import Recipe

__all__ = ["Latent"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Latent(Recipe):
    """DGN-AM (Nguyen et al. 2016): the code of a generator climbs, see `maxact prior train`.

    Args:
        steps: gradient steps.
        step: mean absolute change of a code unit in the first and the last step.
        shrink: factor on the code after each step.
        start_sd: standard deviation of the start.
        patience: a picture is finished when its score has not risen for this many steps; 0: never.
    """

    name: str = "prior"
    steps: int = 200
    step: tuple[float, float] = (8.0, 0.0)
    shrink: float = 0.99
    start_sd: float = 1.0
    patience: int = 0

    def __post_init__(self) -> None:
        Recipe.__post_init__(self)
        self._require_positive("steps")
        self._require_at_least_zero("start_sd", "patience")
        self._require(min(self.step) >= 0, "step", "0 or more, first:last")
        self._require(0 < self.shrink <= 1, "shrink", "above 0 and at most 1")

    @property
    def total_steps(self) -> int:
        """Number of gradient steps."""
        return self.steps
