"""The renderings that are optimised together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Generator

from pipeline.layers.layer import Layer
from pipeline.networks.network import device_of
from viz.canvas import Canvas
from viz.inputs.inputs import Inputs
from viz.inputs.top_images import TopImages
from viz.objectives.objective import Objective

__all__ = ["Batch"]


@dataclass(frozen=True, slots=True)
class Batch:
    """What a recipe is given to plan an ascent.

    Args:
        inputs: the network, and what recipes take from an index or a user.
        canvas: shared by the batch.
        objectives: one per image.
        generators: one per image; all that is random about an image comes from its own.
        top_images: those that each image is made from; empty for recipes that use none.
    """

    inputs: Inputs
    canvas: Canvas
    objectives: Sequence[Objective]
    generators: Sequence[Generator]
    top_images: Sequence[TopImages] = ()

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channel, y, x of a picture on the canvas."""
        return (self.inputs.network.input_shape[0], *self.canvas.size)

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return device_of(self.inputs.network)

    @property
    def layer(self) -> Layer:
        """The first layer that the objectives read."""
        return self.objectives[0].layers[0]
