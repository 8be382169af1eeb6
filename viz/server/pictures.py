"""The pictures of a live atlas: cut from the dataset as they are asked for, kept in memory up to a limit.

They have the addresses and the content of those that `maxact atlas` writes, but nothing is written.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import Image

from pipeline.images.preprocess import Preprocess
from pipeline.layers.layer import Layer
from pipeline.networks.network import Network
from pipeline.progress import Reporter
from pipeline.query.index import Index
from pipeline.query.indexed_images import ShownImages
from viz.atlas.content import LayerContent, Patch, UnitContent
from viz.atlas.copies import encode_projections, projections_size, read_projections
from viz.atlas.cuts import cut_patch, input_pixels, open_photograph, put_in_place
from viz.atlas.from_index import mask_maker_of
from viz.atlas.maps import Mask, MaskMaker, encode_masks, regions_of
from viz.atlas.pictures import CARD_TILES, SMALL, TILE, Card, encode_webp, shrink
from viz.server.contents import Contents
from viz.server.recent import Recent
from viz.sheets.cells import open_rendering

__all__ = ["LivePictures"]

KEPT_BYTES = 128 << 20
"""Encoded pictures in memory."""

KEPT_PIXELS = 48 << 20
"""Pixels of decoded photographs in memory, three bytes each."""

MAX_SIDE, QUALITY = 320, 65
"""As `maxact atlas` without options."""


class LivePictures:
    """Draws the pictures of an index's atlas; for several threads.

    Args:
        contents: of the index.
        reporter: told where pictures come from, if not from the dataset.
        network, weights: see `pipeline.query.indexed_network.index_network`.
        maps: whether the network is loaded for activation maps.
    """

    def __init__(
        self,
        contents: Contents,
        reporter: Reporter,
        *,
        network: Network | str | None = None,
        weights: Path | None = None,
        maps: bool = True,
    ) -> None:
        self._contents, self._reporter = contents, reporter
        self._network, self._weights, self._maps = network, weights, maps
        self._index: Index = contents.index
        self._shown = ShownImages(self._index, reporter)
        self._reading, self._masking = threading.Lock(), threading.Lock()
        self._made = False
        self._maker: MaskMaker | None = None
        self._encoded: Recent[tuple[object, ...], bytes] = Recent(KEPT_BYTES, len)
        self._decoded: Recent[int, Image.Image] = Recent(KEPT_PIXELS, lambda each: each.width * each.height)

    def card(self, layer: Layer, unit: int) -> bytes:
        """The card of a unit, as WebP; raises as `photograph`."""
        content, found = self._contents.card(layer, unit)
        return self._keep("card", content, found, lambda: self._draw_card(content, found))

    def strip(self, layer: Layer, unit: int) -> bytes:
        """The patches of a unit's lowest images and strata, as WebP; raises as `photograph`."""
        content, found = self._contents.unit(layer, unit)
        return self._keep("strip", content, found, lambda: self._draw_strip(content, found))

    def masks(self, layer: Layer, unit: int) -> bytes | None:
        """The masks of a unit's top images, as PNG; None without masks. Raises as `photograph`."""
        content, found = self._contents.card(layer, unit)
        grid = self.grid(layer)
        if grid is None:
            return None
        return self._keep("masks", content, found, lambda: self._draw_masks(content, found, grid))

    def has_regions(self, content: LayerContent) -> bool:
        """Whether a layer sees the whole input, and what drives its units is outlined."""
        seen, preprocess = content.seen, self._index.preprocess
        whole = seen.rf_h >= preprocess.height and seen.rf_w >= preprocess.width
        return whole and self.grid(content.layer) is not None

    def regions(self, layer: Layer, unit: int) -> list[str]:
        """Outlines of what drives a unit in each of its top images; empty ones without masks.

        Raises as `photograph`.
        """
        content, found = self._contents.card(layer, unit)
        masks = self.masks(layer, unit) if self.has_regions(content) else None
        return [""] * len(found.high) if masks is None else regions_of(masks, len(found.high))

    def photograph(self, image_id: int) -> bytes:
        """A whole photograph, as WebP.

        Raises:
            QueryError: when the index has no such image.
            SourceError: when the dataset cannot be found.
            StoreError: when the image cannot be read.
        """
        return self._encoded.get(
            ("photograph", image_id), lambda: encode_webp(shrink(self._open(image_id), MAX_SIDE), QUALITY)
        )

    def rendering(self, layer: Layer, unit: int, number: int) -> bytes | None:
        """One rendering of a unit, as WebP; None if there is none of that number.

        Raises:
            StoreError: when it cannot be read.
        """
        _, found = self._contents.unit(layer, unit)
        if number >= len(found.renderings):
            return None
        row = found.renderings[number]
        return self._encoded.get(
            ("rendering", row.fingerprint, row.file, row.sha256),
            lambda: encode_webp(open_rendering(self._index.out, row), QUALITY),
        )

    def projections(self, layer: Layer, unit: int) -> bytes | None:
        """The page of projections of a unit, as WebP; None for none."""
        found = read_projections(self._index, layer.name, unit)
        return None if found is None else encode_projections(found[1], QUALITY)

    def size_of_projections(self, layer: Layer, unit: int) -> tuple[int, int] | None:
        """Width and height of the page of projections of a unit; None for none."""
        found = read_projections(self._index, layer.name, unit)
        return None if found is None else projections_size(found[1])

    def grid(self, layer: Layer) -> tuple[int, int] | None:
        """Height and width of a layer's masks; None if it has none."""
        self.load()
        return None if self._maker is None else self._maker.grid(layer)

    def load(self) -> None:
        """Load the network for the masks, once.

        Raises:
            MaxactError: when a network or a file that was given cannot be used.
        """
        with self._masking:
            if self._made or not self._maps:
                return
            self._maker = mask_maker_of(
                self._index,
                self._contents.layers,
                self._reporter,
                network=self._network,
                weights=self._weights,
            )
            self._made = True

    def _keep(self, kind: str, content: LayerContent, unit: UnitContent, make: Callable[[], bytes]) -> bytes:
        first = unit.renderings[0].fingerprint if unit.renderings else ""
        return self._encoded.get((kind, content.layer.ordinal, unit.unit, content.seen, first), make)

    def _draw_card(self, content: LayerContent, unit: UnitContent) -> bytes:
        first = open_rendering(self._index.out, unit.renderings[0]) if unit.renderings else None
        card = Card(first, 0)
        self._fetch(unit.high)
        for number, patch in enumerate(unit.high[:CARD_TILES]):
            card.place(number, self._cut(content, patch, TILE))
        return encode_webp(card.card, QUALITY)

    def _draw_strip(self, content: LayerContent, unit: UnitContent) -> bytes:
        patches: Sequence[Patch] = (*unit.low, *unit.strata)
        card = Card(None, len(patches))
        self._fetch(patches)
        for number, patch in enumerate(patches):
            card.place_small(number, self._cut(content, patch, SMALL))
        return encode_webp(card.strip, QUALITY)

    def _draw_masks(self, content: LayerContent, unit: UnitContent, grid: tuple[int, int]) -> bytes:
        place = (content.layer.ordinal, unit.unit)
        masks: list[Mask | None] = []
        self._fetch(unit.high)
        for patch in unit.high:
            pixels = input_pixels(self._open(patch.image_id), self._index.preprocess)
            with self._masking:
                assert self._maker is not None
                masks.append(self._maker.masks(pixels, {place[0]: [place[1]]}).get(place))
        return encode_masks(masks, *grid)

    def _cut(self, content: LayerContent, patch: Patch, size: int) -> Image.Image:
        return cut_patch(self._open(patch.image_id), content.seen, patch, self._index.preprocess, size)

    def _fetch(self, patches: Sequence[Patch]) -> None:
        """Read the photographs of patches at once, as one query for each would take longer."""
        with self._reading:
            missing = self._decoded.missing(patch.image_id for patch in patches)
            for image_id, (picture, preprocess) in self._shown.read(missing, open_photograph):
                self._decoded.keep(image_id, self._in_place(image_id, picture, preprocess))

    def _open(self, image_id: int) -> Image.Image:
        """A decoded photograph."""
        return self._decoded.get(image_id, lambda: self._read(image_id))

    def _read(self, image_id: int) -> Image.Image:
        with self._reading:
            _, (picture, preprocess) = next(self._shown.read([image_id], open_photograph))
        return self._in_place(image_id, picture, preprocess)

    def _in_place(self, image_id: int, picture: Image.Image, preprocess: Preprocess) -> Image.Image:
        """A photograph as it is, and a thumbnail where it lies in its photograph."""
        if preprocess != self._index.preprocess:  # a thumbnail
            known = self._contents.photographs([image_id])[image_id]
            picture = put_in_place(picture, known, self._index.preprocess)
        return picture
