"""maxact: synthetic images of what drives a unit, and sheets that set them beside real ones.

The names below are all that most programs need; each is imported when it is asked for, so that
`import viz` costs nothing.
"""

from typing import TYPE_CHECKING

from pipeline.lazy import lazy_names

if TYPE_CHECKING:
    from viz.recipes.catalog import RECIPES, get_recipe
    from viz.render.render_index import render_index
    from viz.render.render_units import render_units
    from viz.sheets.pages import draw_sheets
else:
    __getattr__ = lazy_names(
        __name__,
        {
            "RECIPES": "viz.recipes.catalog",
            "draw_sheets": "viz.sheets.pages",
            "get_recipe": "viz.recipes.catalog",
            "render_index": "viz.render.render_index",
            "render_units": "viz.render.render_units",
        },
    )

__all__ = ["RECIPES", "draw_sheets", "get_recipe", "render_index", "render_units"]
