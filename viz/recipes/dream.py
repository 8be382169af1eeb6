"""`dream`: as `octaves`, from a photograph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from viz.choices import ReluRule, Source
from viz.recipes.octaves import Octaves
from viz.recipes.option_text import Octave

if TYPE_CHECKING:
    from viz.ascent.loop import Ascent
    from viz.inputs.batch import Batch

__all__ = ["RECIPES", "Dream"]

DREAM_OCTAVES = (
    Octave(10, 1.0, (0.0, 0.0), (1.5, 1.5)),
    Octave(20, 1.4, (0.0, 0.0), (1.5, 1.5)),
    Octave(40, 1.4, (0.0, 0.0), (1.5, 1.5)),
)
"""Scale 1.4, steps of 1.5 and 10 iterations as in Google's DeepDream notebook; larger octaves get
more, because each step changes only one window of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dream(Octaves):
    """DeepDream: a photograph, enlarged by octaves and changed to raise the objective.

    Args:
        detail: add the photograph's own detail whenever the picture is enlarged.
    """

    source: ClassVar[Source | None] = "photograph"

    name: str = "dream"
    relu: ReluRule = "plain"
    octaves: tuple[Octave, ...] = DREAM_OCTAVES
    step_scale: float = 1.0
    jitter: float = 0.5
    detail: bool = True

    def ascent(self, batch: Batch) -> Ascent:
        """From the photograph, taken at the size of the last octave."""
        from viz.pixels import shrink

        size = batch.canvas.size
        photograph = batch.inputs.photograph(*self.sizes(size)[-1])
        photographs = photograph.repeat(len(batch.objectives), 1, 1, 1)
        start = shrink(photographs, *size)
        return self._by_octaves(batch, start, photographs if self.detail else None)


RECIPES = (Dream(),)
