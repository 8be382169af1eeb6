"""Training data of a prior: images of an indexed dataset and their codes."""

from __future__ import annotations

import torch
from torch import Tensor

from pipeline.layers.layer import Layer
from pipeline.networks.network import Network
from pipeline.query.index import Index
from viz.pixels import shrink
from viz.priors.code_range import encode
from viz.training.examples import Examples

__all__ = ["Pairs"]

STORED_EXAMPLES = 4096
"""Maximum number of images in memory, with their codes: about 100 MB at 64 pixels."""


class Pairs(Examples[tuple[Tensor, Tensor]]):
    """Images (channel, y, x) uint8 and their codes (unit, y, x), from the dataset of an index.

    Args:
        index: open index, whose dataset is streamed.
        network: computes the codes.
        layer: whose features are the codes.
        grid: rows and columns of a code.
        size: side of the images in pixels.
        seed: of the order.
    """

    def __init__(self, index: Index, network: Network, layer: Layer, grid: int, size: int, seed: int) -> None:
        def make(pictures: Tensor) -> list[tuple[Tensor, Tensor]]:
            images = shrink(pictures.float(), size, size).round().to(torch.uint8)
            return list(zip(images, encode(network, layer, pictures, (grid, grid)), strict=True))

        super().__init__(index, network.preprocess, make, stored=STORED_EXAMPLES, seed=seed)

    def codes(self) -> Tensor:
        """Return all codes in the buffer: (image, unit, y, x) float32."""
        return torch.stack([code for _, code in self.all()])

    def draw(self, step: int, batch: int) -> tuple[Tensor, Tensor]:
        """Return the batch of a training step.

        Args:
            step: the step of `fill` or a later one.
            batch: number of images.

        Returns:
            Images (image, channel, y, x) on 0..1 and codes (image, unit, y, x), float32 on the CPU.
        """
        chosen = self.choose(step, batch)
        images = torch.stack([image for image, _ in chosen])
        return images.float() / 255, torch.stack([code for _, code in chosen])
