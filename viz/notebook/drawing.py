"""What `Unit.show` and `Unit.render` of `pipeline.query.unit` do; `viz` registers it there."""

from __future__ import annotations

import inspect
from typing import Any
from weakref import WeakKeyDictionary

from pipeline.errors import UsageError
from pipeline.networks.network import Network
from pipeline.progress import ConsoleReporter, Silent
from pipeline.query.index import Index
from pipeline.query.indexed_images import ShownImages
from pipeline.query.indexed_network import index_network
from pipeline.query.unit import Unit
from viz.notebook.views import Rendering, Renderings, UnitView
from viz.recipes.catalog import get_recipe
from viz.recipes.option_text import write_option
from viz.render.field import rendered_field
from viz.render.render_index import render_index
from viz.sheets.cells import gather_cells, open_rendering
from viz.sheets.pages import choose_renders

__all__ = ["render_unit", "show_unit"]

_OF_THE_CALL = frozenset(inspect.signature(render_index).parameters) - {"index", "recipe", "layers", "units"}
"""Options of rendering that are not the recipe's."""

_networks: WeakKeyDictionary[Index, Network] = WeakKeyDictionary()
"""Networks of open indexes, so that the second rendering need not load one again."""


def show_unit(unit: Unit, *, n: int) -> UnitView:
    """A unit's renderings and its top patches; see `pipeline.query.unit.Unit.show`."""
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise UsageError(f"n must be a number of patches, at least 1, got {n!r}")
    index, layer = unit.index, unit.where()
    renders, _ = choose_renders(index, layer.name, [unit.number], None)
    seen = rendered_field(layer, renders.get(unit.number, ()))
    images = ShownImages(index, Silent())
    (cell,) = gather_cells(index, seen, [unit.number], renders, images, tiles=n)
    return UnitView(layer.name, cell)


def render_unit(unit: Unit, recipe: str, **options: Any) -> Renderings:
    """Render one unit into its index; see `pipeline.query.unit.Unit.render`."""
    index = unit.index
    asked = {name: value for name, value in options.items() if name in _OF_THE_CALL}
    settings = {name: write_option(value) for name, value in options.items() if name not in asked}
    chosen = get_recipe(recipe, settings)
    asked.setdefault("reporter", ConsoleReporter())
    if "network" not in asked and "weights" not in asked:
        if index not in _networks:
            _networks[index] = index_network(index)
        asked["network"] = _networks[index]
    rows = render_index(index, chosen, layers=unit.layer, units=[unit.number], **asked)
    return Renderings(tuple(Rendering(row, open_rendering(index.out, row)) for row in rows))
