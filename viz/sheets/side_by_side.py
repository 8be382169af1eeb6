"""Sheets of two indexes of one dataset: each unit beside the nearest unit of the other index.

The nearest unit is the one that shares most of its top images, of any layer.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from pipeline.errors import UsageError
from pipeline.file_names import file_name
from pipeline.layers.layer import Layer
from pipeline.progress import Reporter, Silent
from pipeline.query.index import Index
from pipeline.query.indexed_images import ShownImages
from pipeline.query.matching import Match, find_matches
from pipeline.query.selection import ALL_UNITS, Patterns, Units
from pipeline.store.files import make_folder
from pipeline.store.leftovers import writing
from viz.recipes.catalog import recipe_name
from viz.render.field import rendered_field
from viz.render.table import note_hidden
from viz.sheets.cells import gather_cells
from viz.sheets.content import Cell, PageText
from viz.sheets.draw import draw_page
from viz.sheets.pages import MAX_PAGE_UNITS, PAGE_UNITS, choose_renders, colophon, page_facts, save_page

__all__ = ["draw_side_by_side"]

COLUMNS = 4
"""Two pairs of a unit and its nearest."""

LEGEND = (
    "Each pair of cells shows a unit, and the unit of the other network that shares most of its top images: "
    "a synthetic image on the left, if there is one, and the real images with the highest activations, each "
    "cropped to the unit's receptive field. The first pairs are those that share the fewest images."
)


def draw_side_by_side(
    index: Index,
    other: Index,
    *,
    layers: Patterns = (),
    units: Units = ALL_UNITS,
    recipe: str | None = None,
    page_units: int = PAGE_UNITS,
    reporter: Reporter | None = None,
) -> list[Path]:
    """Draw units beside the nearest units of another index, those that changed most first.

    Args:
        index: open; the sheets are written into its folder `sheets`.
        other: of the same dataset, open.
        layers: of `index`: names or globs, all layers for none.
        units: numbers, or text such as `0-23`.
        recipe: name or TOML file of the recipe whose renderings are shown; None takes the one with the most
            of the units.
        page_units: units of `index` on one page.
        reporter: shown progress.

    Returns:
        The files written, layer by layer.

    Raises:
        LayerError: if the index has no such layer.
        RenderError: if none of the units has a rendering of `recipe`, or its file cannot be read.
        StoreError: if the other index is of another dataset.
        SourceError: if the dataset cannot be found, and an index has no thumbnails.
        UsageError: if a layer has no such units, or `page_units` is out of range.
    """
    chosen = index.choose(layers, units)
    if recipe is not None:
        recipe_name(recipe)  # a file that cannot be read is said before any work
    if not 1 <= page_units <= MAX_PAGE_UNITS:
        raise UsageError(f"a page holds 1 to {MAX_PAGE_UNITS} units, got {page_units}")
    reporter = reporter or Silent()
    note_hidden(index.out, index.run["fingerprint"], reporter)
    matches = find_matches(index, other, {layer.name: numbers for layer, numbers in chosen})
    drawer = _Drawer(ShownImages(index, reporter), ShownImages(other, reporter), matches, recipe)
    make_folder(index.out / "sheets")
    with writing(index.out):
        return [
            file for layer, numbers in chosen for file in drawer.draw(layer, numbers, page_units, reporter)
        ]


class _Drawer:
    """Draws the pages of layers.

    Args:
        ours, theirs: read the images of the two indexes.
        matches: nearest units of the other index, by layer and unit.
        recipe: of the renderings to show.
    """

    def __init__(
        self,
        ours: ShownImages,
        theirs: ShownImages,
        matches: Mapping[tuple[str, int], Match],
        recipe: str | None,
    ) -> None:
        self.ours, self.theirs, self.matches, self.recipe = ours, theirs, matches, recipe

    def draw(self, layer: Layer, units: Sequence[int], page_units: int, reporter: Reporter) -> list[Path]:
        """The pages of a layer."""
        ordered = sorted(units, key=lambda unit: (self._likeness(layer, unit), unit))
        pages = [ordered[first : first + page_units] for first in range(0, len(ordered), page_units)]
        files = []
        with reporter.task(f"sheets of {layer.name}", len(units), "units") as task:
            for number, chunk in enumerate(pages, start=1):
                files.append(self._draw_page(layer, chunk, number, len(pages)))
                task.advance(len(chunk))
        return files

    def _likeness(self, layer: Layer, unit: int) -> float:
        match = self.matches.get((layer.name, unit))
        return match.jaccard if match else 0.0

    def _draw_page(self, layer: Layer, units: Sequence[int], number: int, count: int) -> Path:
        index, other = self.ours.index, self.theirs.index
        cells, seen, recipe = _cells(self.ours, layer, units, self.recipe, needed=True)
        matched = {unit: self.matches.get((layer.name, unit)) for unit in units}
        nearest = self._nearest([match for match in matched.values() if match])
        pairs: list[Cell] = []
        for unit in units:
            match = matched[unit]
            pairs += [cells[unit], nearest[match] if match else _nothing()]
        text = PageText(
            title=layer.name,
            subtitle=f"{index.run['network']['name']}, beside {_title(other)}",
            facts=page_facts(index, layer, seen, sorted(units), recipe, f"{number} of {count}"),
            legend=LEGEND,
            colophon=colophon(),
        )
        against = file_name(f"{other.out.name}-{other.run['fingerprint'][:8]}", dashes=True)
        path = index.out / "sheets" / f"{file_name(layer.name)}-beside-{against}-{number:03}.png"
        save_page(
            draw_page(pairs, text, COLUMNS), path, f"{text.title} {text.subtitle}", index.run["fingerprint"]
        )
        return path

    def _nearest(self, matches: Sequence[Match]) -> dict[Match, Cell]:
        """The cell of each match; layer by layer, so that a layer's images are read once."""
        by_layer: dict[str, list[Match]] = defaultdict(list)
        for match in matches:
            by_layer[match.layer].append(match)
        found: dict[Match, Cell] = {}
        for name, group in by_layer.items():
            layer = self.theirs.index.layer(name)
            units = sorted({match.unit for match in group})
            cells, _, _ = _cells(self.theirs, layer, units, self.recipe, needed=False)
            for match in group:
                cell = cells[match.unit]
                words = ", ".join(filter(None, (name, cell.subtitle)))
                found[match] = replace(
                    cell, subtitle=words, note=f"{match.shared} shared ({match.jaccard:.0%})"
                )
        return found


def _cells(
    images: ShownImages, layer: Layer, units: Sequence[int], recipe: str | None, *, needed: bool
) -> tuple[dict[int, Cell], Layer, str | None]:
    """The cells of units, the layer with the field that patches show, and the recipe shown."""
    renders, shown = choose_renders(images.index, layer.name, units, recipe, needed=needed)
    seen = rendered_field(layer, [row for unit in units for row in renders.get(unit, ())])
    cells = gather_cells(images.index, seen, units, renders, images)
    return dict(zip(units, cells, strict=True)), seen, shown


def _nothing() -> Cell:
    """The cell beside a unit that shares no top image with any."""
    return Cell(title="no unit", subtitle="has one of these images on its list", note="", tiles=(), best=0.0)


def _title(index: Index) -> str:
    """The other network and its folder, as both often have one name."""
    return f"{index.run['network']['name']} ({index.out.name})"
