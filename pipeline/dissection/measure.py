"""Runs the images of an index through its network, twice: for thresholds, and to compare maps with masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from pipeline.choices import Device
from pipeline.devices import find_device
from pipeline.dissection.masks import Marked, MaskedImage, Masks
from pipeline.dissection.places import interpolation, place_grid
from pipeline.dissection.sums import MaskSums, Thresholds, thresholds
from pipeline.indexed_pass import run_indexed
from pipeline.layers.layer import Layer
from pipeline.networks.network import Network
from pipeline.progress import Reporter
from pipeline.query.index import Index
from pipeline.state.label_sums import half_by
from pipeline.state.statistics import BUCKETS, add_to_histogram
from pipeline.stream.placed import place_as_indexed
from pipeline.stream.probes import Peaks

__all__ = ["DissectedLayer", "measure_layers"]

_UNITS_AT_ONCE = 256
"""Units whose maps are enlarged at once: 13 MB at 112 x 112 places."""


@dataclass(frozen=True, slots=True)
class DissectedLayer:
    """What was found of a layer.

    Args:
        layer: of the index.
        thresholds: of its units.
        sums: of its units and all concepts.
    """

    layer: Layer
    thresholds: Thresholds
    sums: MaskSums


def measure_layers(
    index: Index,
    network: Network,
    layers: Sequence[Layer],
    masks: Masks,
    images: Sequence[MaskedImage],
    *,
    quantile: float,
    device: Device,
    reporter: Reporter,
) -> list[DissectedLayer]:
    """Compare the maps of units with masks.

    Args:
        index: open.
        network: that was indexed.
        layers: of the index, with a grid.
        masks: of the images.
        images: that have one, by image_id.
        quantile: of a unit's activations at all positions of all images, above which it is active.
        device: where the network runs.
        reporter: shows the progress.

    Raises:
        SourceError: when an image or a mask cannot be read, or a mask is of another size.
    """
    placed = place_as_indexed(network, index.run["config"], find_device(device))
    every = [row[0] for row in index.sql("SELECT image_id FROM images ORDER BY image_id").rows]
    histograms = [torch.zeros((layer.units, BUCKETS), dtype=torch.int64) for layer in layers]

    def count(number: int, peaks: Peaks) -> None:
        positions = peaks.view.float().cpu().permute(0, 2, 3, 1).flatten(0, 2)
        add_to_histogram(histograms[number], positions)

    with reporter.task("finding thresholds", len(every), "images") as task:
        for batch in run_indexed(index, placed, layers, count, every):
            task.advance(len(batch))
    levels = [thresholds(histogram.numpy(), quantile) for histogram in histograms]
    comparer = _Comparer(index, network, layers, masks, images, levels)
    with reporter.task("comparing with masks", len(images), "images") as task:
        masked = [image.image_id for image in images]
        for batch in run_indexed(index, placed, layers, comparer.compare, masked, comparer.begin):
            task.advance(len(batch))
    return [
        DissectedLayer(layer, level, sums)
        for layer, level, sums in zip(layers, levels, comparer.sums, strict=True)
    ]


class _Comparer:
    """Compares the maps of a batch with the masks of its images."""

    def __init__(
        self,
        index: Index,
        network: Network,
        layers: Sequence[Layer],
        masks: Masks,
        images: Sequence[MaskedImage],
        levels: Sequence[Thresholds],
    ) -> None:
        self.masks = masks
        self.images = {image.image_id: image for image in images}
        self.places = place_grid(network.preprocess)
        self.weights = [
            tuple(torch.from_numpy(each) for each in interpolation(layer, self.places)) for layer in layers
        ]
        self.levels = [torch.from_numpy(level.value) for level in levels]
        self.sums = [MaskSums.empty(layer.units, len(masks.concepts)) for layer in layers]
        self.batch: list[tuple[int, Marked]] = []

    def begin(self, image_ids: Sequence[int]) -> None:
        """Read the masks of a batch, and count what does not depend on layers."""
        self.batch = []
        for number in image_ids:
            image = self.images[number]
            pixels = self.places.pixels(image.width, image.height)
            marked = self.masks.sample(image, *pixels)
            half = half_by(image.origin, image.digest)
            self.batch.append((half, marked))
            for sums in self.sums:
                sums.marked[half, marked.concepts] += marked.inside.sum(axis=1)
                sums.images[half, marked.concepts] += 1
                sums.places[half] += self.places.count
                sums.all_images[half] += 1

    def compare(self, number: int, peaks: Peaks) -> None:
        """The watcher: one layer of the batch."""
        rows, columns = self.weights[number]
        level, sums = self.levels[number], self.sums[number]
        for (half, marked), maps in zip(self.batch, peaks.view.float().cpu(), strict=True):
            inside = torch.from_numpy(marked.inside).float().T
            # A value between positions is never above all of them.
            reached = (maps.flatten(1).amax(1) > level).nonzero().squeeze(1)
            for units in reached.split(_UNITS_AT_ONCE):
                enlarged = (rows @ maps[units] @ columns.T).flatten(1)
                active = enlarged > level[units, None]
                sums.active[half, units.numpy()] += active.sum(1).numpy()
                # Products of zeros and ones over at most 112 x 112 places are exact in float32.
                both: Any = (active.float() @ inside).numpy()
                sums.both[half][np.ix_(units.numpy(), marked.concepts)] += both.astype(np.int64)
