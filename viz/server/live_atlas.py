"""The live atlas of one index: its pages and pictures, by address."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.choices import Device
from pipeline.errors import MaxactError, StoreError
from pipeline.layers.layer import Layer
from pipeline.networks.network import Network
from pipeline.progress import Reporter
from pipeline.query.index import Index
from pipeline.query.named_queries import load_query
from viz.atlas import addresses
from viz.atlas.data import layer_data, search_data
from viz.atlas.from_index import site_of
from viz.atlas.pages import Around, Pages
from viz.server.contents import Contents
from viz.server.explaining import ALL_LAYERS, Driven, Explaining
from viz.server.job import Job
from viz.server.pictures import LivePictures
from viz.server.questions import Question, offered_queries
from viz.server.rendering import OBJECTIVES, offered_recipes, recipe_descriptions
from viz.server.sql_process import Sql, SqlLimits, SqlRows
from viz.server.tables import Linker
from viz.server.uploads import MAX_PHOTOGRAPH_BYTES, MAX_PIXELS

__all__ = ["LiveAtlas", "LiveOptions"]

QUERY_PAGE, PHOTOGRAPH_PAGE, RECIPES_PAGE = "query.html", "photograph.html", "recipes.html"


@dataclass(frozen=True, slots=True)
class LiveOptions:
    """How the pages of an index are made.

    Args:
        trust: see `pipeline.query.index.open_index`.
        network, weights: see `pipeline.query.indexed_network.index_network`.
        device: where photographs run through the network.
        maps: show activation maps, for which the network is loaded.
        render: whether renderings can be asked for.
        seconds: of a query.
        cache: see `viz.render.render_index.render_index`.
    """

    trust: bool = False
    network: Network | str | None = None
    weights: Path | None = None
    device: Device = "auto"
    maps: bool = True
    render: bool = True
    seconds: float = 30.0
    cache: Path | None = None


class LiveAtlas:
    """The live atlas of one index; for several threads.

    Args:
        number: of the index on the server.
        index: open.
        count: number of indexes on the server.
        options: how pages are made.
        reporter: told where pictures come from, if not from the dataset, and why maps are left out.
    """

    def __init__(
        self, number: int, index: Index, count: int, options: LiveOptions, reporter: Reporter
    ) -> None:
        self.number, self.index, self.options = number, index, options
        self.contents = Contents(index)
        self.pictures = LivePictures(
            self.contents, reporter, network=options.network, weights=options.weights, maps=options.maps
        )
        self.sql = Sql(index.out, trust=options.trust, limits=SqlLimits(seconds=options.seconds))
        self.explaining = Explaining(
            index, network=options.network, weights=options.weights, device=options.device
        )
        site = site_of(index, live=count, notice=_notice(index))
        self.pages = Pages(site, templates=["viz.server"])

    def front(self) -> str:
        """The front page."""
        return self.pages.front(self.contents.summaries())[1]

    def layer(self, layer: Layer) -> str:
        """The page of a layer."""
        content = self.contents.outline(layer)
        (summary,) = (each for each in self.contents.summaries() if each.content.layer == layer)
        return self.pages.layer(content, summary, *self.contents.beside(layer))[1]

    def layer_data(self, layer: Layer) -> str:
        """The script with labels and statistics of a layer's units."""
        return layer_data(self.contents.outline(layer))[1]

    def search_data(self) -> str:
        """The script with which all units and labels are searched."""
        outlines = (self.contents.outline(layer) for layer in self.contents.layers)
        return search_data(outlines, self.contents.labels.values())[1]

    def unit(
        self, layer: Layer, unit: int, jobs: Sequence[Job], nearest: Sequence[object], *, allowed: bool
    ) -> str:
        """The page of a unit.

        Args:
            layer: of the unit.
            unit: its number.
            jobs: renderings of it that have not ended.
            nearest: units of other indexes, see `viz.server.nearest`.
            allowed: whether the visitor may ask for more.
        """
        content, found = self.contents.unit(layer, unit)
        outlined = self.pictures.has_regions(content)
        around = Around(
            photographs=self.contents.photographs({patch.image_id for patch in found.patches}),
            before=unit - 1 if unit else None,
            after=unit + 1 if unit + 1 < layer.units else None,
            rendered=self.contents.rendered(layer, found.alike),
            grid=self.pictures.grid(layer),
            regions=[""] * len(found.high),
            regions_address=addresses.regions_file(layer.ordinal, unit) if outlined else "",
            projections=self.pictures.size_of_projections(layer, unit),
        )
        panel = {
            "recipes": [*offered_recipes()],
            "objectives": OBJECTIVES,
            "jobs": jobs,
            "allowed": allowed,
            "nearest": nearest,
            "offered": self.options.render,
        }
        return self.pages.unit(content, found, around, panel=panel)[1]

    def image(self, image_id: int) -> str | None:
        """The page of an image; None if the index has no such image."""
        photograph = self.contents.photographs([image_id]).get(image_id)
        if photograph is None:
            return None
        return self.pages.image(photograph, *self.contents.listing(image_id))[1]

    def label(self, address: str) -> str | None:
        """The page of the label with that address; None if there is none."""
        label = self.contents.labels.get(address)
        if label is None:
            return None
        found = self.contents.knowing(label)
        return self.pages.label(label, *self.contents.labelled(label), found, len(found))[1]

    def panel_sql(self) -> str:
        """The page with the SQL behind the panels."""
        return self.pages.sql()[1]

    def query(
        self, question: Question, found: SqlRows | None = None, problem: str = "", *, allowed: bool
    ) -> str:
        """The page with the box for SQL.

        Args:
            question: in the box.
            found: its result; None if it has not run.
            problem: why it has none.
            allowed: whether the visitor may run SQL.
        """
        layer = question.values.get("layer", "")
        linker = Linker(self.contents.layers, lambda: self.contents.labels, layer)
        return self._live(
            "query.html",
            QUERY_PAGE,
            question=question,
            layers=self.contents.layers,
            shared=question.shared(),
            query=question.query,
            queries=[load_query(name) for name in offered_queries()],
            found=found,
            rows=linker.cells(found) if found else [],
            problem=problem,
            limits=self.sql.limits,
            allowed=allowed,
        )

    def photograph(
        self,
        driven: Driven | None = None,
        problem: str = "",
        ordinal: int = ALL_LAYERS,
        *,
        allowed: bool,
    ) -> str:
        """The page for a photograph of the visitor's.

        Args:
            driven: what a photograph drives; None without a photograph.
            problem: why there is none.
            ordinal: of the layer that was asked for; `ALL_LAYERS` for all.
            allowed: whether the visitor may upload a photograph.
        """
        rendered = {
            (each.layer.name, unit): found
            for each in (driven.layers if driven else ())
            for unit, found in self.contents.rendered(each.layer, [u.unit for u in each.units]).items()
        }
        return self._live(
            "photograph.html",
            PHOTOGRAPH_PAGE,
            driven=driven,
            rendered=rendered,
            problem=problem,
            layers=self.contents.layers,
            ordinal=ordinal,
            all_layers=ALL_LAYERS,
            megabytes=MAX_PHOTOGRAPH_BYTES >> 20,
            megapixels=MAX_PIXELS // 1_000_000,
            allowed=allowed,
        )

    def recipes(self) -> str:
        """The page with the recipes and their options."""
        return self._live("recipes.html", RECIPES_PAGE, recipes=recipe_descriptions())

    def problem(self, address: str, title: str, message: str) -> str:
        """A page that says what went wrong.

        Args:
            address: of the page that was asked for, relative to the atlas.
            title: in a few words.
            message: what the visitor can do.
        """
        return self._live("problem.html", address, heading=title, message=message)

    def _live(self, template: str, address: str, **values: Any) -> str:
        return self.pages.page(template, address, **values)[1]


def _notice(index: Index) -> str:
    """Why photographs cannot be shown; empty if they can."""
    try:
        _ = index.dataset
    except MaxactError as error:
        try:
            ((thumbnails,),) = index.sql("SELECT count(*) FROM thumbnails").rows
        except (StoreError, MaxactError):
            thumbnails = 0
        return "" if thumbnails else f"Photographs cannot be shown: {error}"
    return ""
