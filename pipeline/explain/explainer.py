"""Run photographs through an indexed network and find the units that they drive most.

with open_index("out/demo") as index:
    explainer = Explainer(index, index_network(index))
    for layer in explainer.explain(read_photograph(index, "cat.jpg"), n=5).layers:
        print(layer.layer.name, [(unit.unit, unit.quantile) for unit in layer.units])
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import torch

from pipeline.choices import Device
from pipeline.devices import find_device
from pipeline.errors import BadImage, SourceError
from pipeline.explain.distribution import Distribution, read_distribution
from pipeline.explain.photographs import Photograph
from pipeline.explain.regions import find_grid, relevance
from pipeline.images.decode import decode_original, to_network
from pipeline.images.preprocess import Box
from pipeline.layers.layer import Layer
from pipeline.networks.network import Network
from pipeline.query.index import Index
from pipeline.query.selection import Patterns
from pipeline.stream.placed import place_as_indexed
from pipeline.stream.probes import Peaks, Probes

__all__ = ["Explainer", "Explanation", "LayerExplanation", "UnitResponse"]

Array = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class UnitResponse:
    """How a unit responds to a photograph.

    Args:
        unit: its number.
        name: of its class, in a classifier.
        peak: the same reduction over positions as in the index.
        quantile: share of the indexed images whose peak is lower, 0..1.
        exact: whether that share is exact; else it is within one bucket of the histogram.
        above_all: whether the peak is higher than that of every indexed image.
        deviations: the peak's distance from the unit's mean, in standard deviations.
        y, x: grid position of the peak; None where the layer's positions are unknown, or the score is
            a mean.
        box: what that position sees, in pixels of the photograph; None likewise.
        map: (y, x) float32, the unit's activations; for a layer without positions what drives it at the last
            layer with them, see `pipeline.explain.regions`; None where it was not asked for, or the
            layer's positions are unknown.
    """

    unit: int
    name: str | None
    peak: float
    quantile: float
    exact: bool
    above_all: bool
    deviations: float
    y: int | None
    x: int | None
    box: Box | None
    map: Array | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class LayerExplanation:
    """The units of a layer that a photograph drives most.

    Args:
        layer: the layer.
        units: the most unusual peak first.
        peaks: (unit,) float32, of all units.
        deviations: (unit,) float64, as of `UnitResponse`; NaN for units that are the same everywhere.
    """

    layer: Layer
    units: tuple[UnitResponse, ...]
    peaks: Array = field(repr=False, compare=False)
    deviations: npt.NDArray[np.float64] = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Explanation:
    """A photograph and what it drives.

    Args:
        name: path, URL or key.
        image_id: its number in the index, if it was given by its key.
        width, height: in pixels, upright.
        layers: in forward order.
    """

    name: str
    image_id: int | None
    width: int
    height: int
    layers: tuple[LayerExplanation, ...]


class Explainer:
    """A network and the distributions of its index, to explain any number of photographs.

    Args:
        index: open.
        network: that was indexed, see `pipeline.query.indexed_network`; not changed.
        layers: names or globs; all layers of the index for none.
        device: where the network runs.
    """

    def __init__(
        self, index: Index, network: Network, *, layers: Patterns = (), device: Device = "auto"
    ) -> None:
        self.index, self.network = index, network
        self.layers = tuple(layer for layer, _ in index.choose(layers))
        config = index.run["config"]
        self._config = config
        self._placed = place_as_indexed(network, config, find_device(device))
        self.module = self._placed.module
        self._distributions: dict[str, Distribution] = {}
        self._grids: dict[str, Layer | None] = {}

    def distribution(self, layer: Layer) -> Distribution:
        """The distribution of a layer's peaks over the indexed images; read once."""
        if layer.name not in self._distributions:
            self._distributions[layer.name] = read_distribution(self.index, layer)
        return self._distributions[layer.name]

    def explain(
        self,
        photograph: Photograph,
        *,
        n: int = 8,
        units: Mapping[str, Sequence[int]] | None = None,
        maps: bool = False,
    ) -> Explanation:
        """The units of each layer that a photograph drives most.

        Args:
            photograph: encoded.
            n: units of each layer.
            units: by the name of their layer, instead of those that it drives most.
            maps: keep the activation maps of these units.

        Raises:
            SourceError: when it is no image that can be decoded.
            LayerError: when a layer did not run.
        """
        try:
            original = decode_original(
                photograph.data, self.network.preprocess.channels, decoder=self._config["decoder"]
            )
            pixels = to_network(original, self.network.preprocess)
        except BadImage as error:
            raise SourceError(f"{photograph.name} cannot be used: {error}") from error
        height, width = int(original.shape[1]), int(original.shape[2])
        found: dict[int, LayerExplanation] = {}

        def watch(place: int, peaks: Peaks) -> None:
            layer = self.layers[place]
            chosen = None if units is None else units.get(layer.name, ())
            found[place] = self._read(layer, peaks, n, chosen, (width, height), maps=maps)

        with Probes(self.module, self.layers, watch, self._config["score"]) as probes:
            probes(self.batch(pixels))
        layers = tuple(found[place] for place in range(len(self.layers)))
        if maps:
            layers = self._with_regions(layers, pixels)
        return Explanation(photograph.name, photograph.image_id, width, height, layers)

    def _with_regions(
        self, layers: tuple[LayerExplanation, ...], pixels: torch.Tensor
    ) -> tuple[LayerExplanation, ...]:
        """The same explanations with maps for the units of layers without positions."""
        image = self.batch(pixels)
        return tuple(replace(each, units=self._lit(each, image)) for each in layers)

    def _lit(self, explained: LayerExplanation, image: torch.Tensor) -> tuple[UnitResponse, ...]:
        """The units of a layer, with maps if it has no positions and a grid drives it."""
        layer, units = explained.layer, explained.units
        if not units or layer.grid_h * layer.grid_w > 1:
            return units
        if layer.name not in self._grids:
            self._grids[layer.name] = find_grid(self.network, layer)
        grid = self._grids[layer.name]
        planes = None
        if grid is not None:
            planes = relevance(self.module, grid, layer, [unit.unit for unit in units], image)
        if planes is None:
            return units
        maps = planes.cpu().numpy()
        return tuple(replace(unit, map=plane) for unit, plane in zip(units, maps, strict=True))

    def batch(self, pixels: torch.Tensor) -> torch.Tensor:
        """(1, channel, y, x), the network's normalised input, from (channel, y, x) uint8 pixels."""
        return self._placed.batch(pixels[None])

    def _read(
        self,
        layer: Layer,
        peaks: Peaks,
        n: int,
        chosen: Sequence[int] | None,
        size: tuple[int, int],
        *,
        maps: bool,
    ) -> LayerExplanation:
        """One layer: the chosen units, or the n with the most unusual peaks."""
        values = peaks.values[0].cpu().numpy()
        distribution = self.distribution(layer)
        as_high, exact = distribution.images_as_high(values)
        with np.errstate(divide="ignore", invalid="ignore"):
            deviations = (values - distribution.mean) / distribution.std
        deviations[~distribution.varies] = np.nan
        if chosen is None:
            live = np.flatnonzero(distribution.varies)
            chosen = live[np.lexsort((-deviations[live], as_high[live]))][:n].tolist()
        places = peaks.locate(
            torch.zeros(len(chosen), dtype=torch.int64), torch.tensor([*chosen], dtype=torch.int64)
        )
        located = self._config["score"] == "max" and layer.positions != "unknown"
        names = self.index.class_names(layer.name)
        units = []
        for unit, place in zip(chosen, places.tolist(), strict=True):
            y, x = divmod(place, layer.grid_w)
            images = max(int(distribution.images[unit]), 1)
            box = self.network.preprocess.seen_in_original(layer.box(y, x), *size) if located else None
            shown = maps and layer.grid_h * layer.grid_w > 1 and layer.positions != "unknown"
            units.append(
                UnitResponse(
                    unit=int(unit),
                    name=names[unit] if names and unit < len(names) else None,
                    peak=float(values[unit]),
                    quantile=1 - float(as_high[unit]) / images,
                    exact=bool(exact[unit]),
                    above_all=bool(values[unit] > distribution.high[unit]),
                    deviations=float(deviations[unit]),
                    y=y if located else None,
                    x=x if located else None,
                    box=box,
                    map=peaks.view[0, unit].float().cpu().numpy().copy() if shown else None,
                )
            )
        return LayerExplanation(layer, tuple(units), values, deviations)
