"""What recipes take from the indexed dataset, from a photograph, or from a generator."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from PIL.Image import Image
from torch import Tensor

from pipeline.choices import Side
from pipeline.errors import BadImage, RenderError, RenderingFailed
from pipeline.images.decode import decode, open_original
from pipeline.layers.layer import Layer
from pipeline.networks.network import Network
from pipeline.query.index import Index, TopImage
from pipeline.query.indexed_images import read_images, sample_image_ids
from pipeline.query.short_lists import explain_short_list
from viz.ascent.spectrum import mean_magnitudes
from viz.ascent.statistics_layers import statistics_layers
from viz.canvas import Canvas
from viz.choices import Source
from viz.inputs.facets import crop_at_peak, penultimate
from viz.inputs.kept import Kept, keep_for
from viz.inputs.top_images import NoTopImages, TopImages, choose_images
from viz.objectives.objective import Objective, centre
from viz.pixels import shrink
from viz.planning.effective_field import effective_layer
from viz.priors.prior import Prior
from viz.robust.robust_copy import RobustCopy
from viz.seeds import item_generator

__all__ = ["Inputs"]

MISSING: dict[Source, str] = {
    "index": "needs the images of an index",
    "photograph": "starts from a photograph; give --photo FILE",
    "robust copy": "needs a robust copy of the network; train one with `maxact robust train`",
    "generator": "needs a generator: train one with `maxact prior train`, or give your own with --generator",
}
"""What is said of a recipe whose source is not there."""

TOP_IMAGES = 200
"""Top images of a unit that are sorted into facets, where the index has that many."""

USUAL_IMAGES = 64
"""Photographs that stand for the dataset, where a spread is measured."""

FIELD_IMAGES = 24
"""Of these, photographs on which an effective receptive field is measured."""

_WITH_LIST = "SELECT unit FROM top WHERE layer = $layer AND side = $side AND rank = 1"


class Inputs:
    """A network, and what its renderings may be made from.

    Args:
        network: whose input sets the geometry.
        index: open, made by that network.
        photograph: a file.
        generator: whose codes may be optimised.
        robust: a robust copy of the network.
        cache: folder in which measurements of usual photographs are kept, see `viz.inputs.kept.keep_for`.
    """

    def __init__(
        self,
        network: Network,
        index: Index | None = None,
        photograph: Path | None = None,
        generator: Prior | None = None,
        cache: Path | None = None,
        robust: RobustCopy | None = None,
    ) -> None:
        self.network = network
        self._sources: dict[Source, object] = {
            "index": index,
            "photograph": photograph,
            "generator": generator,
            "robust copy": robust if index is not None else None,
        }
        self._index, self._photograph, self._generator = index, photograph, generator
        self._cache, self._robust = cache, robust
        self._magnitudes: dict[tuple[int, int, int], Tensor] = {}
        self._statistics: dict[Layer, tuple[list[Layer], list[Layer]]] = {}
        self._lists: dict[tuple[str, Side], set[int]] = {}

    def require(self, source: Source | None, recipe: str) -> None:
        """Check that a recipe's source is there.

        Raises:
            RenderError: when it is not.
        """
        if source is not None and self._sources[source] is None:
            raise RenderError(f"recipe {recipe} {MISSING[source]}")

    def identity(self, source: Source | None) -> str:
        """What of a source decides renderings, for their fingerprints."""
        if source == "index":
            return str(self.index.run["fingerprint"])
        if source == "photograph":
            return hashlib.sha256(self._photograph_bytes()).hexdigest()
        if source == "robust copy":
            return f"{self.index.run['fingerprint']} {self.robust.network.digest}"
        return self.generator.digest if source == "generator" else ""

    def for_ascent(self, source: Source | None, layers: Sequence[Layer]) -> Inputs:
        """What gradient ascent uses: of the robust copy, for recipes whose source it is.

        Args:
            source: of the recipe.
            layers: that the objectives read.

        Raises:
            RenderError: if the robust copy does not keep the features of these layers.
        """
        if source != "robust copy":
            return self
        if other := [each.name for each in layers if each.name not in self.robust.layers]:
            raise RenderError(
                f"the robust copy of the network was not trained to keep the features of {', '.join(other)}; "
                "train one with an index of these layers"
            )
        return self._of_copy

    @functools.cached_property
    def _of_copy(self) -> Inputs:
        return Inputs(self.robust.network, self.index, cache=self._cache)

    @property
    def has_index(self) -> bool:
        """Whether there is an index."""
        return self._index is not None

    @property
    def index(self) -> Index:
        """The index; a recipe that uses it says so in its `source`."""
        if self._index is None:
            raise RenderError(f"this recipe {MISSING['index']}")
        return self._index

    @property
    def robust(self) -> RobustCopy:
        """The robust copy of the network; a recipe that uses it says so in its `source`."""
        if self._robust is None:
            raise RenderError(f"this recipe {MISSING['robust copy']}")
        return self._robust

    @property
    def generator(self) -> Prior:
        """The generator; a recipe that uses it says so in its `source`."""
        if self._generator is None:
            raise RenderError(f"this recipe {MISSING['generator']}")
        return self._generator

    def photograph(self, height: int, width: int) -> Tensor:
        """(channel, height, width) on 0..255: the photograph, resized and cropped to that shape.

        Raises:
            RenderError: when it cannot be read.
        """
        try:
            image = open_original(self._photograph_bytes())
        except BadImage as error:
            raise RenderingFailed(f"photograph {self._photograph}: {error}") from error
        pixels = _to_tensor(image, self._mode)
        scale = max(height / image.height, width / image.width)
        rows = max(height, round(image.height * scale))
        columns = max(width, round(image.width * scale))
        return _cover(shrink(pixels[None], rows, columns)[0], height, width)[0]

    def effective_field(self, layer: Layer) -> Layer:
        """A layer narrowed to its effective receptive field on photographs of the index."""

        def measure() -> dict[str, Tensor]:
            chosen = sorted(sample_image_ids(self.index, FIELD_IMAGES))
            pictures = torch.stack([self._usual_pictures[image] for image in chosen])
            found = effective_layer(self.network, layer, pictures)
            return {"field": torch.tensor([found.rf_h, found.rf_w, found.start_y, found.start_x])}

        found = self.keep(f"field of {layer.record()}", measure)["field"]
        height, width, first_y, first_x = map(int, found)
        return replace(layer, rf_h=height, rf_w=width, start_y=first_y, start_x=first_x)

    @functools.cached_property
    def keep(self) -> Kept:
        """Keeps what is measured of usual photographs of the index."""
        return keep_for(self.network, self.index, self._cache)

    def statistics_layers(self, layer: Layer) -> tuple[list[Layer], list[Layer]]:
        """What `viz.ascent.statistics_layers` finds, found once."""
        if layer not in self._statistics:
            self._statistics[layer] = statistics_layers(self.network, layer)
        return self._statistics[layer]

    def usual_windows(self, canvas: Canvas) -> Tensor:
        """(image, channel, y, x) on 0..255: photographs of the index at the canvas's window."""
        rows = slice(canvas.top, canvas.top + canvas.height)
        columns = slice(canvas.left, canvas.left + canvas.width)
        pictures = torch.stack([self._usual_pictures[image] for image in sorted(self._usual_pictures)])
        return pictures.float()[:, :, rows, columns]

    def mean_spectrum(self, images: int, height: int, width: int) -> Tensor:
        """(channel, y, x // 2 + 1): mean magnitudes of so many photographs, at a picture's size."""
        key = (height, width, images)
        if key not in self._magnitudes:
            chosen = sample_image_ids(self.index, images)
            self._magnitudes[key] = torch.stack(
                [
                    mean_magnitudes(_cover(_to_tensor(image, self._mode), height, width))
                    for _, image in read_images(self.index, chosen, open_original)
                ]
            ).mean(0)
        return self._magnitudes[key]

    def require_top_images(self, layer: Layer, unit: int, objective: Objective, recipe: str) -> None:
        """Check that a unit of a recipe that is made from top images has one.

        Raises:
            NoTopImages: when it has none.
        """
        shown, side = _listed(unit, objective)
        if (layer.name, side) not in self._lists:
            rows = self.index.sql(_WITH_LIST, layer=layer.name, side=side).rows
            self._lists[layer.name, side] = {row[0] for row in rows}
        same = objective.terms[0].layer.name == layer.name
        if same and 0 <= shown < layer.units and shown not in self._lists[layer.name, side]:
            why = explain_short_list(self.index, layer.name, shown, side, wanted=1, found=0)
            name = self.index.unit_name(layer.name, shown)
            why = why or f"{name} of {layer.name} has no images on its {side} list"
            raise NoTopImages(f"{why}; recipe {recipe} needs at least one top image")

    def count_top_images(self, layer: Layer, unit: int, objective: Objective, count: int | None) -> int:
        """How many of a unit's top images there are, of so many wanted; None: of all."""
        return len(self.chosen_images(layer, *_listed(unit, objective), count))

    def top_images(
        self, layer: Layer, unit: int, objective: Objective, canvas: Canvas, count: int | None
    ) -> TopImages:
        """A unit's top images, different photographs; for a point each with its peak at the target.

        Args:
            layer: that is rendered.
            unit: that is rendered.
            objective: its first term says which unit, which side and where the target is.
            canvas: what is cut out.
            count: how many; None for all that the index has.
        """
        term = objective.terms[0]
        target = (
            centre(layer.grid_h) if term.y is None else term.y,
            centre(layer.grid_w) if term.x is None else term.x,
        )
        top = self.chosen_images(layer, *_listed(unit, objective), count)
        images = [image.image_id for image in top]
        pixels = self.pixels(images)
        pictures = [pixels[image].float() for image in images]
        if term.kind == "point":
            pictures = [
                crop_at_peak(picture, layer, (image.y, image.x), target, canvas)
                for picture, image in zip(pictures, top, strict=True)
            ]

        def features() -> Tensor:
            return penultimate(self.network, torch.stack([pixels[image] for image in images]))

        return TopImages(tuple(images), pictures, features, item_generator(0, layer.name, unit))

    def chosen_images(self, layer: Layer, unit: int, side: Side, count: int | None) -> list[TopImage]:
        """A unit's top images that are different photographs, the strongest first; None: all there are."""
        found = self.index.tops(layer.name, [unit], n=TOP_IMAGES, side=side)[unit]
        if count is None:
            return choose_images(found, TOP_IMAGES, per_origin=TOP_IMAGES)
        return choose_images(found, count)

    @functools.cached_property
    def _usual_pictures(self) -> dict[int, Tensor]:
        """Photographs of the index, chosen by hash: (channel, y, x) uint8 by image_id."""
        return self.pixels(sample_image_ids(self.index, USUAL_IMAGES))

    def pixels(self, image_ids: Sequence[int]) -> dict[int, Tensor]:
        """Images in network geometry: (channel, y, x) uint8 by image_id."""
        decoder = functools.partial(decode, preprocess=self.network.preprocess)
        return dict(read_images(self.index, image_ids, decoder))

    def _photograph_bytes(self) -> bytes:
        if self._photograph is None:
            raise RenderError(f"this recipe {MISSING['photograph']}")
        try:
            return self._photograph.read_bytes()
        except OSError as error:
            raise RenderError(f"photograph {self._photograph}: {error.strerror}") from error

    @property
    def _mode(self) -> str:
        """Pillow's mode of pictures with the network's channels."""
        return "RGB" if self.network.input_shape[0] == 3 else "L"


def _listed(unit: int, objective: Objective) -> tuple[int, Side]:
    """Unit and side of the list that an objective's images come from: those of its first term."""
    term = objective.terms[0]
    return unit if term.unit < 0 else term.unit, "low" if term.weight < 0 else "high"


def _to_tensor(image: Image, mode: str) -> Tensor:
    """(channel, y, x) float on 0..255."""
    data = torch.frombuffer(bytearray(image.convert(mode).tobytes()), dtype=torch.uint8)
    return data.view(image.height, image.width, -1).permute(2, 0, 1).float()


def _cover(picture: Tensor, height: int, width: int) -> Tensor:
    """(1, channel, height, width): the centre of an image, enlarged no more than it must be.

    Spectra of photographs look alike at every scale, so that the centre of a large one does for a
    small window.
    """
    scale = max(height / picture.shape[1], width / picture.shape[2])
    if scale > 1:
        rows = max(height, round(picture.shape[1] * scale))
        columns = max(width, round(picture.shape[2] * scale))
        picture = shrink(picture[None], rows, columns)[0]
    top, left = (picture.shape[1] - height) // 2, (picture.shape[2] - width) // 2
    return picture[None, :, top : top + height, left : left + width]
