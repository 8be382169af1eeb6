"""Write the pages of an atlas from templates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from pipeline.images.preprocess import Preprocess
from pipeline.query.named_queries import load_query
from pipeline.visible import mark_invisible
from viz.atlas import addresses
from viz.atlas.charts import plot_histogram
from viz.atlas.collect import CLASSES, HISTOGRAMS, NAMES, SIMILAR, STATISTICS, STRATA
from viz.atlas.comparison import Comparison
from viz.atlas.content import LayerContent, UnitContent
from viz.atlas.copies import Projections
from viz.atlas.data import sort_orders
from viz.atlas.links import Links
from viz.atlas.maps import GUTTER
from viz.atlas.overview import LayerSummary, summarise
from viz.atlas.pictures import on_card
from viz.atlas.spots import spot_of
from viz.sheets.typography import REPLACEMENT, readable_label, readable_number

__all__ = ["Pages", "Site"]

MOST_UNITS = 60
"""Units that the page of an image or a label shows."""

MOST_IMAGES = 60
"""Photographs that the page of a label shows."""

SHOWN = 480
"""Longer side of the photograph on the page of an image, in CSS pixels."""

STATUS_WORDS = {"ok": "", "retried": "second attempt", "weak": "weak", "grey": "shows nothing"}
"""How a page writes the status of a rendering."""

SQL = {
    "top": ("Top and lowest images", load_query("top_images").sql),
    "histogram": ("Peaks of all images", HISTOGRAMS),
    "strata": ("From the lowest to the highest tenth", STRATA),
    "labels": ("Labels with the highest mean peak", CLASSES),
    "names": ("Names", NAMES),
    "statistics": ("Statistics", STATISTICS),
    "similar": ("Units that share top images", SIMILAR),
    "compare": ("Nearest units in another index", load_query("compare").sql),
}
"""Title and text of the queries behind the panels of a unit's page, by anchor."""


@dataclass(frozen=True, slots=True)
class Site:
    """What all pages of an atlas have in common.

    Args:
        out: folder of the index, as commands name it.
        network: name of the network.
        dataset: name of the dataset.
        images: number of indexed images.
        preprocess: from a photograph to the network's input.
        colophon: name and version of the program.
        other: the index that this one is compared with, as pages name it; empty for none.
    """

    out: str
    network: str
    dataset: str
    images: int
    preprocess: Preprocess
    colophon: str
    other: str = ""


class Pages:
    """The pages of one atlas.

    Args:
        site: what they have in common.
        layers: all layers of the atlas, in forward order.
        links: between pages.
        comparison: with another index; None without one.
        projections: pages that the atlas has.
    """

    def __init__(
        self,
        site: Site,
        layers: Sequence[LayerContent],
        links: Links,
        comparison: Comparison | None = None,
        projections: Projections | None = None,
    ) -> None:
        self.site, self.layers, self.links, self.comparison = site, layers, links, comparison
        self._projections = projections or {}
        self._numbered: dict[int, dict[int, UnitContent]] = {}
        self._environment = Environment(
            loader=PackageLoader("viz.atlas"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters |= {
            "label": lambda text: mark_invisible(readable_label(text), REPLACEMENT),
            "plain": lambda text: mark_invisible(text, REPLACEMENT),
            "number": _number,
            "percent": _percent,
            "ratio": _ratio,
            "count": lambda value: f"{value:,}",
            "short": lambda value: f"{value:.6g}",
        }

    @cached_property
    def summaries(self) -> tuple[LayerSummary, ...]:
        """One a layer, for the front page."""
        return tuple(summarise(layer) for layer in self.layers)

    def front(self) -> tuple[str, str]:
        """Address and text of the front page."""
        return self.page("front.html", addresses.FRONT, summaries=self.summaries)

    def layer(self, place: int) -> tuple[str, str]:
        """Address and text of the page of the layer at a place."""
        content = self.layers[place]
        return self.page(
            "layer.html",
            addresses.layer_page(content.layer.ordinal),
            content=content,
            summary=self.summaries[place],
            sorts=sort_orders(content),
            labelled=any(unit.labels and not unit.dead for unit in content.units),
            before=self.layers[place - 1] if place else None,
            after=self.layers[place + 1] if place + 1 < len(self.layers) else None,
        )

    def unit(
        self, place: int, number: int, grid: tuple[int, int] | None, regions: Sequence[str]
    ) -> tuple[str, str]:
        """Address and text of the page of a unit.

        Args:
            place: of the layer.
            number: place of the unit among those of the layer that the atlas shows.
            grid: height and width of the masks of the top images; None without masks.
            regions: outline of the region that drives the unit in each of them; empty for none.
        """
        content = self.layers[place]
        layer, units = content.layer, content.units
        unit = units[number]
        spots = {
            (kind, patch.place): spot_of(
                content,
                patch,
                self.links.photographs[patch.image_id],
                self.site.preprocess,
                masked=grid is not None and kind == "high",
                region=regions[rank] if kind == "high" else "",
            )
            for kind, patches in (("high", unit.high), ("low", unit.low), ("strata", unit.strata))
            for rank, patch in enumerate(patches)
        }
        return self.page(
            "unit.html",
            addresses.unit_page(layer.ordinal, unit.unit),
            content=content,
            unit=unit,
            spots=spots,
            chart=plot_histogram(unit),
            before=units[number - 1] if number else None,
            after=units[number + 1] if number + 1 < len(units) else None,
            shown=self._by_number(place),
            on_card=on_card,
            projections=self._projections.get((unit.layer, unit.unit)),
            comparison=self.comparison,
            match=self.comparison.match(unit) if self.comparison else None,
            status_words=STATUS_WORDS,
            masks=f"{grid[1]} {grid[0]} {len(unit.high)} {GUTTER}" if grid else "",
        )

    def _by_number(self, place: int) -> dict[int, UnitContent]:
        """The units of the layer at a place, by their numbers."""
        if place not in self._numbered:
            self._numbered[place] = {unit.unit: unit for unit in self.layers[place].units}
        return self._numbered[place]

    def sql(self) -> tuple[str, str]:
        """Address and text of the page with the SQL behind the panels."""
        return self.page("sql.html", addresses.sql_page(), queries=SQL)

    def image(self, image_id: int) -> tuple[str, str]:
        """Address and text of the page of an image."""
        photograph = self.links.photographs[image_id]
        scale = min(1, SHOWN / max(photograph.width, photograph.height))
        return self.page(
            "image.html",
            addresses.image_page(image_id),
            photograph=photograph,
            shown=[max(1, round(side * scale)) for side in (photograph.width, photograph.height)],
            found=self.links.by_image.get(image_id, [])[:MOST_UNITS],
            total=len(self.links.by_image.get(image_id, [])),
        )

    def label(self, label: str) -> tuple[str, str]:
        """Address and text of the page of a label."""
        images = self.links.images_of.get(label, [])
        units = self.links.by_label[label]
        return self.page(
            "label.html",
            addresses.label_page(label),
            label=label,
            photographs=[self.links.photographs[image_id] for image_id in images[:MOST_IMAGES]],
            images=len(images),
            found=units[:MOST_UNITS],
            total=len(units),
        )

    def page(self, template: str, address: str, **values: Any) -> tuple[str, str]:
        """Address and text of a page.

        Args:
            template: its name.
            address: of the page.
            values: what the template takes.
        """

        def link(target: str, *numbers: Any) -> str:
            return addresses.relative(address, getattr(addresses, target)(*numbers))

        text = self._environment.get_template(template).render(
            site=self.site,
            layers=self.layers,
            root=addresses.relative(address, "."),
            link=link,
            **values,
        )
        return address, text


def _number(value: float | None) -> str:
    return "\N{EN DASH}" if value is None or value != value else readable_number(float(value))


def _percent(value: float | None) -> str:
    if value is None or value != value:
        return "\N{EN DASH}"
    return f"{value * 100:.3g}\N{NO-BREAK SPACE}%"


def _ratio(value: float | None) -> str:
    return "" if value is None else f"{value:.2g}\N{MULTIPLICATION SIGN}"
