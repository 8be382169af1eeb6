"""Write the pages of an atlas from templates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from pipeline.images.preprocess import Preprocess
from pipeline.layers.layer import Layer
from pipeline.query.named_queries import load_query
from pipeline.visible import mark_invisible
from viz.atlas import addresses
from viz.atlas.charts import plot_histogram
from viz.atlas.collect import CLASSES, HISTOGRAMS, NAMES, SIMILAR, STATISTICS, STRATA
from viz.atlas.comparison import Comparison
from viz.atlas.content import LayerContent, Photograph, UnitContent
from viz.atlas.correlated import CORRELATED
from viz.atlas.data import sort_orders
from viz.atlas.links import Appearance
from viz.atlas.maps import GUTTER
from viz.atlas.overview import LayerSummary
from viz.atlas.pictures import on_card
from viz.atlas.spots import spot_of
from viz.paths.likeness import is_unusual
from viz.sheets.typography import REPLACEMENT, readable_label, readable_number

__all__ = ["MOST_IMAGES", "MOST_UNITS", "Around", "Pages", "Site"]

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
    "correlated": ("Units with the most similar peaks", CORRELATED),
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
        live: number of indexes of the server that makes the pages; 0 for files.
        notice: shown on every page; empty for none.
    """

    out: str
    network: str
    dataset: str
    images: int
    preprocess: Preprocess
    colophon: str
    other: str = ""
    live: int = 0
    notice: str = ""


@dataclass(frozen=True, slots=True)
class Around:
    """What the page of a unit needs besides its content.

    Args:
        photographs: the images that it shows, by image_id.
        before: number of the previous unit with a page; None for none.
        after: of the next one.
        rendered: whether they have a rendering, of the similar units that have a page.
        grid: height and width of the masks of the top images; None without masks.
        regions: outline of the region that drives the unit in each of them; empty for none.
        regions_address: where a server gives them, relative to the folder of the atlas; empty for files.
        projections: width and height of the picture of its projections; None for none.
    """

    photographs: Mapping[int, Photograph]
    before: int | None
    after: int | None
    rendered: Mapping[int, bool]
    grid: tuple[int, int] | None = None
    regions: Sequence[str] = field(default=())
    regions_address: str = ""
    projections: tuple[int, int] | None = None


class Pages:
    """Writes pages from what they show.

    Args:
        site: what they have in common.
        comparison: with another index; None without one.
        templates: packages with more templates, in a folder `templates`.
    """

    def __init__(
        self, site: Site, comparison: Comparison | None = None, templates: Sequence[str] = ()
    ) -> None:
        self.site, self.comparison = site, comparison
        self._environment = Environment(
            loader=ChoiceLoader([PackageLoader(package) for package in ("viz.atlas", *templates)]),
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

    def front(self, summaries: Sequence[LayerSummary]) -> tuple[str, str]:
        """Address and text of the front page, from the summaries of all layers."""
        return self.page("front.html", addresses.FRONT, summaries=summaries)

    def layer(
        self, content: LayerContent, summary: LayerSummary, before: Layer | None, after: Layer | None
    ) -> tuple[str, str]:
        """Address and text of the page of a layer.

        Args:
            content: of the layer.
            summary: of the layer.
            before: the layer before it, with a page; None for none.
            after: the layer after it.
        """
        return self.page(
            "layer.html",
            addresses.layer_page(content.layer.ordinal),
            content=content,
            summary=summary,
            sorts=sort_orders(content),
            labelled=any(unit.labels and not unit.dead for unit in content.units),
            before=before,
            after=after,
        )

    def unit(self, content: LayerContent, unit: UnitContent, around: Around, **more: Any) -> tuple[str, str]:
        """Address and text of the page of a unit.

        Args:
            content: of its layer.
            unit: the unit.
            around: what else the page needs.
            more: what templates of other packages take.
        """
        grid = around.grid
        spots = {
            (kind, patch.place): spot_of(
                content,
                patch,
                around.photographs[patch.image_id],
                self.site.preprocess,
                masked=grid is not None and kind == "high",
                region=around.regions[rank] if kind == "high" else "",
            )
            for kind, patches in (("high", unit.high), ("low", unit.low), ("strata", unit.strata))
            for rank, patch in enumerate(patches)
        }
        return self.page(
            "unit.html",
            addresses.unit_page(content.layer.ordinal, unit.unit),
            content=content,
            unit=unit,
            spots=spots,
            chart=plot_histogram(unit),
            before=around.before,
            after=around.after,
            rendered=around.rendered,
            on_card=on_card,
            projections=around.projections,
            comparison=self.comparison,
            match=self.comparison.match(unit) if self.comparison else None,
            status_words=STATUS_WORDS,
            unusual=is_unusual,
            regions_address=around.regions_address,
            masks=f"{grid[1]} {grid[0]} {len(unit.high)} {GUTTER}" if grid else "",
            **more,
        )

    def sql(self) -> tuple[str, str]:
        """Address and text of the page with the SQL behind the panels."""
        return self.page("sql.html", addresses.sql_page(), queries=SQL)

    def image(self, photograph: Photograph, found: Sequence[Appearance], total: int) -> tuple[str, str]:
        """Address and text of the page of an image.

        Args:
            photograph: the image.
            found: units that list it, best rank first; `MOST_UNITS` of them are shown.
            total: number of all of them.
        """
        scale = min(1, SHOWN / max(photograph.width, photograph.height))
        return self.page(
            "image.html",
            addresses.image_page(photograph.image_id),
            photograph=photograph,
            shown=[max(1, round(side * scale)) for side in (photograph.width, photograph.height)],
            found=found[:MOST_UNITS],
            total=total,
        )

    def label(
        self,
        label: str,
        photographs: Sequence[Photograph],
        images: int,
        found: Sequence[Appearance],
        total: int,
    ) -> tuple[str, str]:
        """Address and text of the page of a label.

        Args:
            label: the label.
            photographs: images with it; `MOST_IMAGES` of them are shown.
            images: number of all of them.
            found: units with it, highest share first; `MOST_UNITS` of them are shown.
            total: number of all of them.
        """
        return self.page(
            "label.html",
            addresses.label_page(label),
            label=label,
            photographs=photographs[:MOST_IMAGES],
            images=images,
            found=found[:MOST_UNITS],
            total=total,
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
