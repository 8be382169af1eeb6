"""Indexed images, read back and run through their network with probes, batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch
from torch import Tensor

from pipeline.images.decode import decode
from pipeline.layers.layer import Layer
from pipeline.query.index import Index
from pipeline.query.indexed_images import read_images
from pipeline.stream.placed import PlacedNetwork
from pipeline.stream.probes import Peaks, Probes

__all__ = ["run_indexed"]

BATCH = 16
"""Images of a forward pass."""


def run_indexed(
    index: Index,
    placed: PlacedNetwork,
    layers: Sequence[Layer],
    watch: Callable[[int, Peaks], None],
    image_ids: Sequence[int],
    begin: Callable[[Sequence[int]], None] | None = None,
) -> Iterator[list[int]]:
    """Run images of an index through its network.

    Args:
        index: open.
        placed: its network, as it was indexed.
        layers: to probe, in forward order.
        watch: called with the number of each layer and its peaks, batch after batch.
        image_ids: of the images.
        begin: called with the image_ids of a batch before it runs.

    Yields:
        The image_ids of each batch after it has run.

    Raises:
        SourceError: when the dataset has moved or changed.
        StoreError: when an image can no longer be decoded.
    """
    config = index.run["config"]
    decoded = partial(decode, preprocess=placed.network.preprocess, decoder=config["decoder"])
    with Probes(placed.module, layers, watch, config["score"]) as probes:
        for batch in _batches(read_images(index, image_ids, decoded)):
            numbers = [number for number, _ in batch]
            if begin is not None:
                begin(numbers)
            probes(placed.batch(torch.stack([pixels for _, pixels in batch])))
            yield numbers


def _batches(images: Iterator[tuple[int, Tensor]]) -> Iterator[list[tuple[int, Tensor]]]:
    batch: list[tuple[int, Tensor]] = []
    for item in images:
        batch.append(item)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
