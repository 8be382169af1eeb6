"""What all recipes share, and how their options are checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from pipeline.errors import RenderError
from viz.recipes.option_text import write_option

__all__ = ["RULES", "Recipe", "ReluRule"]

ReluRule = Literal["plain", "leaky", "redirected", "deconvnet", "guided"]
"""What every ReLU does during a climb; see `viz.passes.relu`."""

RULES: tuple[ReluRule, ...] = get_args(ReluRule)
"""All rules, `plain` first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What all recipes share.

    Args:
        name: in the table of renderings.
        relu: rule that every ReLU follows while the image climbs (never when it is measured).
        relu_steps: the rule holds for this many steps, then the network is plain; 0 means always.
        keep: save the image of the last step, or of the step that scored best.
    """

    name: str
    relu: ReluRule = "plain"
    relu_steps: int = 0
    keep: Literal["last", "best"] = "last"

    def __post_init__(self) -> None:
        self._require(self.relu in RULES, "relu", f"one of {', '.join(RULES)}")
        self._require(self.relu_steps >= 0, "relu_steps", "0 or more")
        self._require(self.keep in ("last", "best"), "keep", "last or best")

    @property
    def total_steps(self) -> int:
        """Number of gradient steps."""
        raise NotImplementedError

    @property
    def renderings(self) -> int:
        """How many renderings a unit gets."""
        return 1

    @property
    def top_images(self) -> int | None:
        """How many of a unit's top images its renderings start from; None: all that are known."""
        return 0

    @property
    def needs_index(self) -> bool:
        """Whether it draws on indexed images."""
        return self.top_images != 0

    def _require(self, holds: bool, option: str, expected: str) -> None:
        if not holds:
            found = write_option(getattr(self, option))
            raise RenderError(f"recipe {self.name}: {option} must be {expected}, got {found}")

    def _require_positive(self, *options: str) -> None:
        for option in options:
            self._require(getattr(self, option) > 0, option, "above 0")

    def _require_at_least_zero(self, *options: str) -> None:
        for option in options:
            self._require(getattr(self, option) >= 0, option, "0 or more")
