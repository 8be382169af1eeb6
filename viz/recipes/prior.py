"""`prior`: the code of a generator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from viz.choices import Source
from viz.recipes.base import Recipe
from viz.recipes.option_text import ramp

if TYPE_CHECKING:
    from viz.ascent.loop import Ascent
    from viz.inputs.batch import Batch

__all__ = ["RECIPES", "Latent"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Latent(Recipe):
    """DGN-AM (Nguyen et al. 2016): the code of a generator is optimised, see `maxact prior train`.

    Args:
        steps: gradient steps.
        step: mean absolute change of a code unit in the first and the last step.
        shrink: factor on the code after each step.
        start_sd: standard deviation of the code at the start.
        patience: stop a picture whose score has not risen for this many steps; 0: never.
    """

    source: ClassVar[Source | None] = "generator"

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

    def ascent(self, batch: Batch) -> Ascent:
        """Normalised steps on codes that shrink and stay within the generator's bounds."""
        import torch

        from viz.ascent.loop import Ascent
        from viz.ascent.optimisers import ShrinkingSteps
        from viz.ascent.parametrisation import Codes

        generator = batch.inputs.generator.to(batch.device)
        noise = [torch.randn(generator.code_shape, generator=each) for each in batch.generators]
        start = (self.start_sd * torch.stack(noise)).to(batch.device)
        return Ascent(
            self.steps,
            start.clamp(generator.lower, generator.upper),
            Codes(batch.canvas.size, generator),
            ShrinkingSteps(ramp(self.step, self.steps), self.shrink, generator.lower, generator.upper),
            patience=self.patience,
        )


RECIPES = (Latent(),)
