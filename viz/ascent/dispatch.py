"""From a recipe and a batch to pictures: which climb, on which canvas."""

from __future__ import annotations

from pipeline.errors import RenderError
from viz.ascent.code import climb_code
from viz.ascent.pixels import climb_deepvis, climb_octaves
from viz.ascent.random_views import reach
from viz.ascent.spectrum import climb_fourier, climb_maco
from viz.ascent.task import Climb, Task
from viz.canvas import Canvas
from viz.recipes.code import Latent
from viz.recipes.kinds import Accentuate, Deepvis, Fourier, Maco, Octaves, Recipe, Typical

__all__ = ["canvas_for", "climb", "reads_whole_layer"]


def canvas_for(recipe: Recipe, canvas: Canvas) -> Canvas:
    """The canvas with the margin that a recipe's random views need."""
    if not isinstance(recipe, Fourier):
        return canvas
    half = max(canvas.height, canvas.width) / 2
    furthest = reach(half, jitter=recipe.jitter, scale=recipe.scale, rotate=recipe.rotate)
    return canvas.with_margin(furthest - int(half))


def reads_whole_layer(recipe: Recipe) -> bool:
    """Whether a recipe's scores depend on more of a layer than its objective reads."""
    if isinstance(recipe, Typical):
        return True
    return isinstance(recipe, Fourier) and (
        recipe.variety > 1 or (isinstance(recipe, Accentuate) and recipe.near > 0)
    )


def climb(recipe: Recipe, task: Task) -> Climb:
    """Render a batch.

    Raises:
        RenderError: for a recipe that cannot be climbed, or lacks what it starts from.
    """
    if isinstance(recipe, Fourier):
        return climb_fourier(recipe, task)
    if isinstance(recipe, Octaves):
        return climb_octaves(recipe, task)
    if isinstance(recipe, Maco):
        return climb_maco(recipe, task)
    if isinstance(recipe, Latent):
        return climb_code(recipe, task)
    if isinstance(recipe, Deepvis):
        return climb_deepvis(recipe, task)
    raise RenderError(f"recipe {recipe.name} cannot be rendered")
