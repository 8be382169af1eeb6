"""What all recipes share: common options, checks, and what a kind of recipe may say of itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from pipeline.errors import RenderError
from viz.choices import RULES, ReluRule, Source
from viz.recipes.option_text import write_option

if TYPE_CHECKING:
    from pipeline.layers.layer import Layer
    from viz.ascent.history import AscentResult
    from viz.ascent.loop import Ascent
    from viz.canvas import Canvas
    from viz.inputs.batch import Batch
    from viz.inputs.inputs import Inputs
    from viz.inputs.top_images import TopImages
    from viz.objectives.objective import Objective

__all__ = ["Recipe"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What all recipes share.

    Args:
        name: in the table of renderings.
        relu: rule that every ReLU follows during gradient ascent (never when it is measured).
        relu_steps: the rule holds for this many steps, then the network is plain; 0 means always.
        keep: save the picture of the last step, or of the step with the best score.
    """

    source: ClassVar[Source | None] = None
    """What a kind of recipe needs besides the network."""

    activates: ClassVar[bool] = True
    """Whether the unit's activation is part of its score: a weak rendering is then tried once more."""

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
    def group(self) -> int:
        """How many renderings of a unit depend on each other, and are optimised in one pass."""
        return 1

    @property
    def top_images(self) -> int | None:
        """How many of a unit's top images its renderings are made from; None: all that are known."""
        return 0

    @property
    def zoom(self) -> float:
        """Pixels of the picture to a pixel of the canvas, along a side."""
        return 1.0

    def divide(self, top: TopImages) -> list[TopImages]:
        """Which of a unit's top images each of its renderings is made from.

        Args:
            top: as many as there are of those asked for by `top_images`.
        """
        return [top]

    def canvas(self, inputs: Inputs, layer: Layer, objective: Objective) -> Canvas:
        """The part of the input that is optimised for an objective.

        Args:
            inputs: with the network.
            layer: that is rendered.
            objective: of one of its units.
        """
        from viz.planning.plan import plan_canvas

        return plan_canvas(inputs.network, objective)

    def ascent(self, batch: Batch) -> Ascent:
        """How the pictures of a batch are optimised."""
        raise NotImplementedError

    def finish(self, result: AscentResult, batch: Batch) -> AscentResult:
        """The pictures as they are saved."""
        return result

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
