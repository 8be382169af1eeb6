"""From a recipe and a batch to pictures: which climb, on which canvas."""

from __future__ import annotations

from pipeline.errors import RenderError
from viz.canvas import Canvas
from viz.climb_code import climb_code
from viz.climb_pixels import climb_deepvis, climb_octaves
from viz.climb_spectrum import climb_fourier, climb_maco, fourier_extra
from viz.extras import Extra
from viz.recipe_kinds import Deepvis, Fourier, Latent, Maco, Octaves, Recipe
from viz.task import Climb, Task
from viz.transform import reach

__all__ = ["canvas_for", "climb", "extra_for"]


def canvas_for(recipe: Recipe, canvas: Canvas) -> Canvas:
    """The canvas with the margin that a recipe's random views need."""
    if not isinstance(recipe, Fourier):
        return canvas
    half = max(canvas.height, canvas.width) / 2
    furthest = reach(half, jitter=recipe.jitter, scale=recipe.scale, rotate=recipe.rotate)
    return canvas.with_margin(furthest - int(half))


def extra_for(recipe: Recipe, layer: str) -> Extra | None:
    """What a recipe adds to the scores of its batch, read at a layer."""
    return fourier_extra(recipe, layer) if isinstance(recipe, Fourier) else None


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
