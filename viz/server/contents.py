"""What the pages of a live atlas show, read from the tables as it is asked for and kept for a while."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import replace
from functools import cached_property

from pipeline.errors import StoreError
from pipeline.layers.layer import Layer
from pipeline.query.index import Index
from pipeline.query.matching import TopLists, images_of
from pipeline.store.layout import RENDERS_TABLE
from pipeline.store.run_file import RUN_FILE, read_finished_run
from viz.atlas import addresses
from viz.atlas.collect import (
    LABELS,
    collect_high,
    collect_layer,
    collect_outline,
    collect_photographs,
)
from viz.atlas.content import LayerContent, Patch, Photograph, UnitContent
from viz.atlas.from_index import TOP, Renders, renders_of
from viz.atlas.links import Appearance
from viz.atlas.overview import LayerSummary, summarise
from viz.atlas.pages import MOST_IMAGES, MOST_UNITS
from viz.render.field import rendered_field
from viz.render.table import Rendered
from viz.server.recent import Recent

__all__ = ["Contents"]

KEPT_OUTLINES = 30_000
"""Units of layers that were shown recently; each takes about 4 kB."""

KEPT_LISTS = 2_000
"""Blocks of units whose top images are kept."""

BLOCK = 32
"""Units whose top images are read at once, as a layer's page asks for all of them one by one."""

LISTING = """
SELECT layer, unit, rank, activation, y, x FROM top
WHERE image_id = $id AND side = 'high' ORDER BY rank, layer, unit LIMIT $count
"""

LISTED = "SELECT count(*) FROM top WHERE image_id = $id AND side = 'high'"

KNOWING = """
SELECT c.layer, c.unit, CASE WHEN u.max > 0 THEN c.mean_peak / u.max ELSE 0 END AS share FROM (
    SELECT *, row_number() OVER (PARTITION BY layer, unit ORDER BY mean_peak DESC, label) AS place
    FROM classes
) AS c JOIN units AS u ON c.layer = u.layer AND c.unit = u.unit
WHERE c.place <= $places AND c.label = $label AND u.min < u.max ORDER BY share DESC, c.layer, c.unit
"""

LABELLED = "SELECT image_id FROM images WHERE label = $label ORDER BY image_id LIMIT $count"

CORRELATED_PEAKS = 100_000_000
"""Peaks of a layer up to which a page computes correlations; more take seconds."""

LABELLED_COUNT = "SELECT count(*) FROM images WHERE label = $label"

ALL_LABELS = """
SELECT label FROM images WHERE label IS NOT NULL UNION SELECT label FROM classes WHERE label IS NOT NULL
"""


class Contents:
    """The content of an index's pages.

    Renderings are read again when their table has changed.

    Args:
        index: open.
    """

    def __init__(self, index: Index) -> None:
        self.index = index
        self.layers: tuple[Layer, ...] = index.layers
        self._ordinals = {layer.ordinal: layer for layer in self.layers}
        self._opened = (index.run["fingerprint"], index.run.get("tables"))
        self._stamp = (-1, -1, -1)
        self._renders: tuple[tuple[int, int, int], Renders] = ((-1, -1, -1), {})
        self._summaries: tuple[tuple[int, int, int], tuple[LayerSummary, ...]] = ((-1, -1, -1), ())
        self._summing = threading.Lock()
        self._fields: dict[int, tuple[object, Layer]] = {}
        self._outlines: Recent[tuple[int, object], LayerContent] = Recent(
            KEPT_OUTLINES, lambda content: len(content.units)
        )
        self._lists: Recent[tuple[int, int], dict[int, tuple[Patch, ...]]] = Recent(KEPT_LISTS, lambda _: 1)

    @property
    def version(self) -> tuple[int, int, int]:
        """Another value when the table of renderings has been written again."""
        try:
            stat = (self.index.out / RENDERS_TABLE).stat()
        except OSError:
            return (0, 0, 0)
        return stat.st_mtime_ns, stat.st_size, stat.st_ino

    def is_current(self) -> bool:
        """Whether the index is the one that was opened: nobody has indexed again into its folder."""
        try:
            stat = (self.index.out / RUN_FILE).stat()
            stamp = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
            if stamp != self._stamp:
                run = read_finished_run(self.index.out)
                if (run["fingerprint"], run.get("tables")) != self._opened:
                    return False
                self._stamp = stamp
        except (OSError, StoreError):
            return False
        return True

    @property
    def renders(self) -> Renders:
        """The renderings, by layer and unit."""
        version = self.version
        if self._renders[0] != version:
            self._renders = (version, renders_of(self.index))
        return self._renders[1]

    def layer(self, ordinal: int) -> Layer | None:
        """The layer at a place in forward order; None for none."""
        return self._ordinals.get(ordinal)

    def beside(self, layer: Layer) -> tuple[Layer | None, Layer | None]:
        """The layers before and after one."""
        place = self.layers.index(layer)
        return (
            self.layers[place - 1] if place else None,
            self.layers[place + 1] if place + 1 < len(self.layers) else None,
        )

    def outline(self, layer: Layer) -> LayerContent:
        """All units of a layer, without images."""
        key = (layer.ordinal, self.version)
        return self._outlines.get(
            key, lambda: collect_outline(self.index, layer, range(layer.units), self._of(layer))
        )

    def summaries(self) -> tuple[LayerSummary, ...]:
        """The summaries of all layers; their contents have the units that they show only."""
        version = self.version
        with self._summing:
            if self._summaries[0] != version:
                found = [summarise(self.outline(layer)) for layer in self.layers]
                kept = tuple(
                    replace(each, content=replace(each.content, units=each.telling)) for each in found
                )
                self._summaries = (version, kept)
            return self._summaries[1]

    def unit(self, layer: Layer, unit: int) -> tuple[LayerContent, UnitContent]:
        """A unit with all that its page shows."""
        peaks = self.index.run["counts"]["images"] * layer.units
        content = collect_layer(
            self.index,
            layer,
            [unit],
            self._of(layer),
            top=TOP,
            among=range(layer.units),
            correlate=peaks <= CORRELATED_PEAKS,
        )
        content = replace(content, seen=self._seen(layer))
        return content, content.units[0]

    def card(self, layer: Layer, unit: int) -> tuple[LayerContent, UnitContent]:
        """A unit with what its card shows: its first rendering and its top images."""
        first = unit // BLOCK * BLOCK
        block = range(first, min(first + BLOCK, layer.units))
        high = self._lists.get((layer.ordinal, first), lambda: collect_high(self.index, layer, block, TOP))
        found = replace(self._named(layer, unit), high=high[unit])
        return LayerContent(layer, self._seen(layer)), found

    def rendered(self, layer: Layer, units: Iterable[int]) -> dict[int, bool]:
        """Whether units have a rendering."""
        found = self._of(layer)
        return {unit: unit in found for unit in units}

    def photographs(self, image_ids: Iterable[int]) -> dict[int, Photograph]:
        """The rows of images, by image_id."""
        return collect_photographs(self.index, image_ids)

    def listing(self, image_id: int) -> tuple[list[Appearance], int]:
        """The units that have an image on their top lists, best rank first, and how many there are."""
        rows = self.index.sql(LISTING, id=image_id, count=MOST_UNITS).dicts()
        ((total,),) = self.index.sql(LISTED, id=image_id).rows
        found = []
        for row in rows:
            layer = self.index.layer(row["layer"])
            patch = Patch(image_id, row["activation"], row["y"], row["x"], row["rank"])
            found.append(Appearance(LayerContent(layer, layer), self._named(layer, row["unit"]), patch))
        return found, total

    def knowing(self, label: str) -> list[Appearance]:
        """The units that have a label among those of the highest mean peak, highest share first."""
        found = []
        for name, unit, share in self.index.sql(KNOWING, label=label, places=LABELS).rows:
            layer = self.index.layer(name)
            found.append(Appearance(LayerContent(layer, layer), self._named(layer, unit), share=share))
        return found

    def labelled(self, label: str) -> tuple[list[Photograph], int]:
        """The first images with a label, and how many there are."""
        ids = [row[0] for row in self.index.sql(LABELLED, label=label, count=MOST_IMAGES).rows]
        ((total,),) = self.index.sql(LABELLED_COUNT, label=label).rows
        return [*self.photographs(ids).values()], total

    @cached_property
    def labels(self) -> dict[str, str]:
        """All labels, by the address of their page."""
        return {addresses.label_page(label): label for (label,) in self.index.sql(ALL_LABELS).rows}

    @cached_property
    def images(self) -> dict[str, int]:
        """Number and digest of the images."""
        return images_of(self.index)

    @cached_property
    def top_lists(self) -> TopLists:
        """The top lists of all units, by image."""
        return TopLists.of(self.index)

    def _of(self, layer: Layer) -> dict[int, list[Rendered]]:
        return self.renders.get(layer.name, {})

    def _seen(self, layer: Layer) -> Layer:
        """A layer with the receptive field of its renderings."""
        version, found = self._fields.get(layer.ordinal, (None, layer))
        if version != self.version:
            version = self.version
            found = rendered_field(layer, (row for rows in self._of(layer).values() for row in rows))
            self._fields[layer.ordinal] = (version, found)
        return found

    def _named(self, layer: Layer, unit: int) -> UnitContent:
        """A unit without statistics, to link to."""
        return UnitContent(layer.name, unit, "", {}, renderings=tuple(self._of(layer).get(unit, ())))
