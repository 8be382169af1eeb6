"""Draw the pictures of an atlas from the dataset: each photograph is read and decoded once for all units.

Only units whose pictures are not there yet, or would change, are drawn. The pictures of all units of a
pass are in memory, so that very many units are drawn in several passes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

from PIL import Image

from pipeline.layers.layer import Layer
from pipeline.progress import Reporter
from pipeline.query.index import Index
from pipeline.query.indexed_images import ShownImages
from viz.atlas import addresses
from viz.atlas.content import LayerContent, Patch, Photograph, UnitContent
from viz.atlas.copies import VERSION
from viz.atlas.cuts import cut_patch, input_pixels, open_photograph, put_in_place
from viz.atlas.files import FileSink, digest_of
from viz.atlas.maps import Mask, MaskMaker, encode_masks, regions_of
from viz.atlas.pictures import CARD_TILES, SMALL, TILE, Card, encode_webp, shrink
from viz.sheets.cells import open_rendering

__all__ = ["PictureOptions", "Pictures"]

PASS_UNITS = 2000
"""Units drawn in one pass over the photographs; each takes about 0.7 MB."""

THREADS = 2


@dataclass(frozen=True, slots=True)
class PictureOptions:
    """How pictures are saved.

    Args:
        max_side: longer side of the whole photographs, in pixels.
        quality: of WebP files, 1 to 100.
    """

    max_side: int
    quality: int


@dataclass(slots=True)
class _Pending:
    """A unit that is being drawn.

    Args:
        content: its layer.
        unit: the unit.
        card: its pictures so far.
        left: number of patches that are missing.
        masks: of its top images, by image_id.
    """

    content: LayerContent
    unit: UnitContent
    card: Card
    left: int
    masks: dict[int, Mask]


@dataclass(frozen=True, slots=True)
class _Piece:
    """A patch to cut out of a photograph.

    Args:
        pending: of which unit.
        patch: which one.
        number: place on the card or on the strip.
        on_card: whether it goes on the card.
    """

    pending: _Pending
    patch: Patch
    number: int
    on_card: bool


class Pictures:
    """Draws the pictures of an atlas.

    Args:
        index: open.
        files: of the atlas.
        options: how pictures are saved.
        maker: gives masks; None leaves them out.
        source: another index of the same dataset, from which images are read; then only cards are drawn.
    """

    def __init__(
        self,
        index: Index,
        files: FileSink,
        options: PictureOptions,
        maker: MaskMaker | None = None,
        source: Index | None = None,
    ) -> None:
        self._index, self._files, self._options, self._maker = index, files, options, maker
        self._source, self._cards_only = source or index, source is not None
        self._fingerprint = index.run["fingerprint"]

    def draw(
        self, contents: Sequence[LayerContent], known: Mapping[int, Photograph], reporter: Reporter
    ) -> int:
        """Draw what is missing; returns the number of units that were drawn.

        Args:
            contents: of all layers.
            known: the images that are shown, by image_id.
            reporter: shows the progress.

        Raises:
            SourceError: if the dataset cannot be found.
            StoreError: if an image or a rendering cannot be read, or a file cannot be written.
        """
        waiting = [(content, unit) for content in self.missing(contents) for unit in content.units]
        photographs = set() if self._cards_only else self.missing_photographs(known)
        passes = [waiting[first : first + PASS_UNITS] for first in range(0, len(waiting), PASS_UNITS)]
        with ThreadPoolExecutor(THREADS) as pool:
            for number, chunk in enumerate(passes or [[]], start=1):
                title = "drawing pictures" + (f", pass {number} of {len(passes)}" if len(passes) > 1 else "")
                units = [self._open_unit(content, unit) for content, unit in chunk]
                self._draw_pass(units, photographs, known, pool, reporter, title)
                photographs = set()
        return len(waiting)

    def missing(self, contents: Sequence[LayerContent]) -> list[LayerContent]:
        """The layers with those of their units whose pictures are not there yet."""
        left = (
            replace(content, units=tuple(u for u in content.units if not self._is_drawn(content, u)))
            for content in contents
        )
        return [content for content in left if content.units]

    def missing_photographs(self, known: Mapping[int, Photograph]) -> set[int]:
        """Those of the images whose whole photographs are not there yet, by image_id."""
        names = {image_id: addresses.photograph_file(image_id) for image_id in known}
        return {
            image_id
            for image_id, name in names.items()
            if not self._files.has(name, self._photograph_key(image_id))
        }

    def grid(self, layer: Layer) -> tuple[int, int] | None:
        """Height and width of a layer's masks; None if it has none."""
        return None if self._maker is None else self._maker.grid(layer)

    def regions(self, content: LayerContent, unit: UnitContent) -> list[str]:
        """Outlines of what drives a unit in each of its top images, if its layer sees the whole input."""
        seen, preprocess = content.seen, self._index.preprocess
        if self.grid(content.layer) is None or seen.rf_h < preprocess.height or seen.rf_w < preprocess.width:
            return [""] * len(unit.high)
        name = addresses.masks_file(content.layer.ordinal, unit.unit)
        return regions_of((self._files.folder / name).read_bytes(), len(unit.high))

    def _is_drawn(self, content: LayerContent, unit: UnitContent) -> bool:
        key = self._unit_key(content, unit)
        there = [self._files.has(name, key) for name in self._names(content.layer, unit)]
        return all(there)

    def _unit_key(self, content: LayerContent, unit: UnitContent) -> str:
        rendering = unit.renderings[0].fingerprint if unit.renderings else ""
        patches = [(patch.image_id, patch.y, patch.x) for patch in unit.patches]
        places = (len(unit.high), len(unit.low))
        options = (self._options.quality, self.grid(content.layer))
        return digest_of(VERSION, self._fingerprint, content.seen, patches, places, rendering, options)

    def _photograph_key(self, image_id: int) -> str:
        return digest_of(VERSION, self._fingerprint, image_id, self._options)

    def _open_unit(self, content: LayerContent, unit: UnitContent) -> _Pending:
        first = unit.renderings[0] if unit.renderings else None
        picture = open_rendering(self._index.out, first) if first else None
        card = Card(picture, len(unit.low) + len(unit.strata))
        return _Pending(content, unit, card, len(unit.patches), {})

    def _draw_pass(
        self,
        units: Sequence[_Pending],
        photographs: set[int],
        known: Mapping[int, Photograph],
        pool: ThreadPoolExecutor,
        reporter: Reporter,
        title: str,
    ) -> None:
        pieces: dict[int, list[_Piece]] = defaultdict(list)
        for pending in units:
            for piece in _pieces(pending):
                pieces[piece.patch.image_id].append(piece)
        self._save_units([pending for pending in units if not pending.left], pool)
        wanted = sorted(photographs | set(pieces))
        shown = ShownImages(self._source, reporter)
        with reporter.task(title, len(wanted), "images") as task:
            for image_id, (picture, preprocess) in shown.read(wanted, open_photograph):
                photograph = picture
                if preprocess != self._source.preprocess:
                    photograph = put_in_place(picture, known[image_id], self._source.preprocess)
                if image_id in photographs:
                    self._save_photograph(image_id, photograph)
                found = pieces.pop(image_id, [])
                self._place_patches(photograph, found, pool)
                self._add_masks(photograph, [piece for piece in found if piece.on_card])
                self._save_units([piece.pending for piece in found if not piece.pending.left], pool)
                task.advance()

    def _place_patches(
        self, photograph: Image.Image, pieces: Sequence[_Piece], pool: ThreadPoolExecutor
    ) -> None:
        for piece, patch in zip(pieces, pool.map(partial(self._cut, photograph), pieces), strict=True):
            card = piece.pending.card
            (card.place if piece.on_card else card.place_small)(piece.number, patch)
            piece.pending.left -= 1

    def _cut(self, photograph: Image.Image, piece: _Piece) -> Image.Image:
        size = TILE if piece.on_card else SMALL
        return cut_patch(photograph, piece.pending.content.seen, piece.patch, self._index.preprocess, size)

    def _save_photograph(self, image_id: int, photograph: Image.Image) -> None:
        data = encode_webp(shrink(photograph, self._options.max_side), self._options.quality)
        self._files.write(addresses.photograph_file(image_id), self._photograph_key(image_id), data)

    def _save_units(self, units: Sequence[_Pending], pool: ThreadPoolExecutor) -> None:
        """Write the pictures of finished units and free them; one that is named twice is written once."""
        units = list({id(pending): pending for pending in units}.values())
        for pending, contents in zip(units, pool.map(self._encode, units), strict=True):
            key = self._unit_key(pending.content, pending.unit)
            for name, data in zip(self._names(pending.content.layer, pending.unit), contents, strict=True):
                self._files.write(name, key, data)
            pending.card = Card(None, 0)

    def _add_masks(self, photograph: Image.Image, pieces: Sequence[_Piece]) -> None:
        """Add the masks of one photograph to its units."""
        wanted: dict[int, list[int]] = defaultdict(list)
        for piece in pieces:
            layer = piece.pending.content.layer
            if self.grid(layer) is not None:
                wanted[layer.ordinal].append(piece.pending.unit.unit)
        if self._maker is None or not wanted:
            return
        masks = self._maker.masks(input_pixels(photograph, self._index.preprocess), wanted)
        for piece in pieces:
            mask = masks.get((piece.pending.content.layer.ordinal, piece.pending.unit.unit))
            if mask is not None:
                piece.pending.masks[piece.patch.image_id] = mask

    def _names(self, layer: Layer, unit: UnitContent) -> tuple[str, ...]:
        """The files that are drawn together: card, strip, masks."""
        place = (layer.ordinal, unit.unit)
        if self._cards_only:
            return (addresses.other_card_file(*place),)
        return addresses.card_file(*place), addresses.strip_file(*place), addresses.masks_file(*place)

    def _encode(self, pending: _Pending) -> tuple[bytes, ...]:
        quality, grid = self._options.quality, self.grid(pending.content.layer)
        card = encode_webp(pending.card.card, quality)
        if self._cards_only:
            return (card,)
        masks = [pending.masks.get(patch.image_id) for patch in pending.unit.high]
        return card, encode_webp(pending.card.strip, quality), encode_masks(masks, *(grid or (1, 1)))


def _pieces(pending: _Pending) -> Iterator[_Piece]:
    unit = pending.unit
    for number, patch in enumerate(unit.high[:CARD_TILES]):
        yield _Piece(pending, patch, number, on_card=True)
    for number, patch in enumerate((*unit.low, *unit.strata)):
        yield _Piece(pending, patch, number, on_card=False)
