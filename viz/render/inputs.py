"""What recipes take from the indexed dataset, or from a photograph of the user's.

`Material` hands a batch its `Supplies`: mean spectra, starts, the colour of nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from PIL.Image import Image
from torch import Tensor

from pipeline.choices import Side
from pipeline.errors import BadImage, RenderError
from pipeline.images.decode import decode, open_original
from pipeline.layers.layer import Layer
from pipeline.networks.network import Network, mean_colour
from pipeline.query.index import Index, TopImage
from pipeline.query.indexed_images import read_images, sample_image_ids
from viz.ascent.likeness import Patches, statistics_layers
from viz.ascent.parametrisation import mean_magnitudes
from viz.ascent.task import Supplies
from viz.canvas import Canvas
from viz.objectives.objective import Objective, centre
from viz.pixels import shrink
from viz.planning.effective_field import effective_layer
from viz.priors.prior import Prior
from viz.recipes.code import Latent
from viz.recipes.kinds import Dream, Maco, Recipe
from viz.render.facets import lay, penultimate
from viz.render.starts import Laid, Start, starts_from
from viz.render.top_images import choose_images
from viz.seeds import item_generator

__all__ = ["Material"]

TOP_IMAGES = 200
"""Top images of a unit that are sorted into facets, where the index has that many."""

USUAL_IMAGES = 64
"""Photographs that stand for the dataset, where a spread or a field is measured."""


class Material:
    """What a network's renderings may draw on.

    Args:
        network: whose input sets the geometry.
        index: open, for recipes that use the dataset.
        photograph: a file, for dreams.
        prior: a generator, for climbs in its code.
    """

    def __init__(
        self,
        network: Network,
        index: Index | None = None,
        photograph: Path | None = None,
        prior: Prior | None = None,
    ) -> None:
        self.network, self.index, self.photograph, self.prior = network, index, photograph, prior
        self._magnitudes: dict[tuple[int, int, int], Tensor] = {}
        self._starts: dict[tuple[object, ...], list[Start]] = {}
        self._fields: dict[str, Layer] = {}
        self._statistics: dict[Layer, tuple[list[Layer], list[Layer]]] = {}
        self._usual: Tensor | None = None

    def identity(self, recipe: Recipe) -> str:
        """What of the outside decides a recipe's renderings, for the fingerprint."""
        if isinstance(recipe, Dream):
            return hashlib.sha256(self._photograph_bytes(recipe)).hexdigest()
        if isinstance(recipe, Latent):
            return "" if self.prior is None else self.prior.digest
        if recipe.needs_index:
            return str(self._opened(recipe).run["fingerprint"])
        return ""

    def renderings(self, recipe: Recipe, layer: Layer, unit: int) -> int:
        """How many renderings of a unit there can be."""
        # An index lists at least one top image of every unit: only several need to be counted.
        if recipe.renderings > 1 and recipe.top_images != 0:
            return min(recipe.renderings, len(self._top(recipe, layer, unit)))
        return recipe.renderings

    def check(self, recipe: Recipe, objective: Objective, layer: Layer) -> None:
        """Refuse objectives that no images of the index stand for.

        Raises:
            RenderError: for a sum, a direction, an energy, a unit of another layer.
        """
        term = objective.terms[0]
        one = len(objective.terms) == 1 and term.layer.name == layer.name
        if not one or term.kind not in ("point", "channel"):
            raise RenderError(
                f"recipe {recipe.name} renders units, whose top images the index has; "
                f"for {objective} choose another, such as --recipe fourier"
            )

    def field(self, recipe: Recipe, layer: Layer) -> Layer:
        """A layer narrowed to its effective receptive field on photographs of the index."""
        if layer.name not in self._fields:
            pictures = self._usual_pictures(recipe)
            self._fields[layer.name] = effective_layer(self.network, layer, pictures)
        return self._fields[layer.name]

    def statistics_layers(self, layer: Layer) -> tuple[list[Layer], list[Layer]]:
        """What `viz.ascent.likeness.statistics_layers` finds, found once."""
        if layer not in self._statistics:
            self._statistics[layer] = statistics_layers(self.network, layer)
        return self._statistics[layer]

    def start(
        self,
        recipe: Recipe,
        objective: Objective,
        layer: Layer,
        unit: int,
        facet: int,
        canvas: Canvas,
    ) -> Start | None:
        """Where one rendering starts; None where the recipe starts from noise."""
        if isinstance(recipe, Dream):
            return Start(self._dream_start(recipe, canvas))
        if recipe.top_images == 0:
            return None
        key = (recipe, layer.name, unit, canvas)
        if key not in self._starts:
            self._starts = {key: self._unit_starts(recipe, objective, layer, unit, canvas)}
        return self._starts[key][facet]

    def supplies(self, recipe: Recipe, starts: Sequence[Start | None], canvas: Canvas) -> Supplies:
        """What a batch needs.

        Raises:
            RenderError: when the recipe needs an index or a photograph that is not there.
        """
        pictures = [start.picture for start in starts if start is not None]
        patches = [start.patches for start in starts if start and start.patches is not None]
        usual = self._usual_windows(recipe, canvas) if patches else None
        return Supplies(
            torch.stack(pictures) if pictures else None,
            None if usual is None else Patches(patches, usual),
            self._mean_spectrum(recipe, canvas) if isinstance(recipe, Maco) else None,
            mean_colour(self.network),
            self.prior if isinstance(recipe, Latent) else None,
        )

    def _opened(self, recipe: Recipe) -> Index:
        if self.index is None:
            raise RenderError(f"recipe {recipe.name} needs the images of an index")
        return self.index

    def _photograph_bytes(self, recipe: Recipe) -> bytes:
        if self.photograph is None:
            raise RenderError(f"recipe {recipe.name} starts from a photograph; give --photo FILE")
        try:
            return self.photograph.read_bytes()
        except OSError as error:
            raise RenderError(f"photograph {self.photograph}: {error.strerror}") from error

    def _dream_start(self, recipe: Dream, canvas: Canvas) -> Tensor:
        """The photograph at the size of the last octave, cropped to the input's shape."""
        try:
            image = open_original(self._photograph_bytes(recipe))
        except BadImage as error:
            raise RenderError(f"photograph {self.photograph}: {error}") from error
        growth = 1.0
        for octave in recipe.schedule:
            growth *= octave.scale
        height, width = (round(side * growth) for side in canvas.size)
        mode = "RGB" if self.network.input_shape[0] == 3 else "L"
        pixels = _to_tensor(image, mode)
        scale = max(height / image.height, width / image.width)
        rows = max(height, round(image.height * scale))
        columns = max(width, round(image.width * scale))
        return _cover(shrink(pixels[None], rows, columns)[0], height, width)[0]

    def _usual_pictures(self, recipe: Recipe) -> Tensor:
        """(image, channel, y, x) uint8: photographs of the index, chosen by hash."""
        if self._usual is None:
            pixels = self._pixels(recipe, sample_image_ids(self._opened(recipe), USUAL_IMAGES))
            self._usual = torch.stack([pixels[image_id] for image_id in sorted(pixels)])
        return self._usual

    def _usual_windows(self, recipe: Recipe, canvas: Canvas) -> Tensor:
        """What those photographs show where the canvas's window lies."""
        pictures = self._usual_pictures(recipe).float()
        rows = slice(canvas.top, canvas.top + canvas.height)
        return pictures[:, :, rows, canvas.left : canvas.left + canvas.width]

    def _top(self, recipe: Recipe, layer: Layer, unit: int, side: Side = "high") -> list[TopImage]:
        """The unit's top images that a recipe starts from, different photographs."""
        found = self._opened(recipe).top(layer.name, unit, n=TOP_IMAGES, side=side)
        if recipe.top_images is None:
            return choose_images(found, TOP_IMAGES, per_origin=TOP_IMAGES)
        return choose_images(found, recipe.top_images)

    def _pixels(self, recipe: Recipe, image_ids: Sequence[int]) -> dict[int, Tensor]:
        """Images in network geometry: (channel, y, x) uint8 by image_id."""
        decoder = partial(decode, preprocess=self.network.preprocess)
        return dict(read_images(self._opened(recipe), image_ids, decoder))

    def _unit_starts(
        self, recipe: Recipe, objective: Objective, layer: Layer, unit: int, canvas: Canvas
    ) -> list[Start]:
        term = objective.terms[0]
        target = (
            centre(layer.grid_h) if term.y is None else term.y,
            centre(layer.grid_w) if term.x is None else term.x,
        )
        shown = unit if term.unit < 0 else term.unit
        top = self._top(recipe, layer, shown, "low" if term.weight < 0 else "high")
        images = [image.image_id for image in top]
        pixels = self._pixels(recipe, images)
        pictures = [pixels[image].float() for image in images]
        if term.kind == "point":
            pictures = [
                lay(picture, layer, (image.y, image.x), target, canvas)
                for picture, image in zip(pictures, top, strict=True)
            ]
        laid = Laid(
            images,
            pictures,
            lambda: penultimate(self.network, torch.stack([pixels[image] for image in images])),
            canvas,
            item_generator(0, layer.name, unit),
        )
        return starts_from(recipe, laid)

    def _mean_spectrum(self, recipe: Maco, canvas: Canvas) -> Tensor:
        """The dataset's mean magnitudes at the size of the recipe's picture."""
        height, width = (round(side * recipe.enlarge) for side in canvas.size)
        key = (height, width, recipe.images)
        if key not in self._magnitudes:
            index = self._opened(recipe)
            chosen = sample_image_ids(index, recipe.images)
            mode = "RGB" if self.network.input_shape[0] == 3 else "L"
            self._magnitudes[key] = torch.stack(
                [
                    mean_magnitudes(_cover(_to_tensor(image, mode), height, width))
                    for _, image in read_images(index, chosen, open_original)
                ]
            ).mean(0)
        return self._magnitudes[key]


def _to_tensor(image: Image, mode: str) -> Tensor:
    """(channel, y, x) float on 0..255."""
    data = torch.frombuffer(bytearray(image.convert(mode).tobytes()), dtype=torch.uint8)
    return data.view(image.height, image.width, -1).permute(2, 0, 1).float()


def _cover(picture: Tensor, height: int, width: int) -> Tensor:
    """(1, channel, height, width): the centre of an image just large enough, never enlarged more
    than it must be.

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
