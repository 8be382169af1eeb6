"""Activations of saved pictures: 8 bits, no transforms, no ReLU rule, float32."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pipeline.choices import Score
from pipeline.networks.network import Network, device_of, mean_colour
from viz.canvas import Canvas, place
from viz.objectives.objective import Objective, View, evaluate
from viz.passes.watch import PASS_IMAGES, Watch
from viz.pixels import shrink, to_bytes

__all__ = ["Measured", "measure", "on_input", "open_picture"]


@dataclass(frozen=True, slots=True)
class Measured:
    """What one picture activates.

    Args:
        activation: at the target's position for a point, the peak for a channel, the objective's
            value otherwise.
        peak: of the only unit in the objective, as the index scores a picture: maximum over
            positions (minimum, for the lowest) or mean; None for objectives of several units.
    """

    activation: float
    peak: float | None


def open_picture(path: Path, channels: int) -> Tensor:
    """Read a PNG: (channel, y, x) uint8."""
    with Image.open(path, formats=["PNG"]) as image:
        pixels = np.array(image.convert("RGB" if channels == 3 else "L"))
    return torch.from_numpy(pixels.reshape(*pixels.shape[:2], channels)).permute(2, 0, 1)


def measure(
    network: Network,
    pictures: Sequence[Tensor],
    objectives: Sequence[Objective],
    canvas: Canvas,
    score: Score = "max",
    zoom: float = 1.0,
) -> list[Measured]:
    """Show pictures to the network as the dataset's images are shown, in float32.

    Args:
        network: plain.
        pictures: each (channel, y, x) uint8; the surroundings of a smaller one are the mean
            colour.
        zoom: pixels of a picture to a pixel of the canvas; the pictures are shrunk by it.
        objectives: one per picture.
        canvas: where in the input the pictures are placed.
        score: what the index keeps of a unit's positions.
    """
    layers = {layer.name: layer for objective in objectives for layer in objective.layers}
    ordered = sorted(layers.values(), key=lambda layer: layer.ordinal)
    found: list[Measured] = []
    with Watch(network, ordered, None) as watch, torch.no_grad():
        for first in range(0, len(pictures), PASS_IMAGES):
            whole = on_input(network, pictures[first : first + PASS_IMAGES], canvas, zoom)
            views = watch(whole.to(device_of(network)))
            found += _read(objectives[first : first + PASS_IMAGES], views, score)
    return found


def on_input(network: Network, pictures: Sequence[Tensor], canvas: Canvas, zoom: float = 1.0) -> Tensor:
    """(image, channel, y, x) uint8: pictures on the whole input, as `measure` shows them to the network."""
    surroundings = mean_colour(network)
    return torch.cat([place(_fit(picture, zoom), canvas, surroundings) for picture in pictures])


def _fit(picture: Tensor, zoom: float) -> Tensor:
    """(1, channel, y, x) uint8 at the size of the canvas."""
    if zoom == 1:
        return picture[None]
    height, width = (round(side / zoom) for side in picture.shape[1:])
    return to_bytes(shrink(picture[None].float(), height, width))


def _read(objectives: Sequence[Objective], views: dict[str, View], score: Score) -> list[Measured]:
    values = evaluate(objectives, views).tolist()
    return [
        _read_one(image, objective, value, views, score)
        for image, (objective, value) in enumerate(zip(objectives, values, strict=True))
    ]


def _read_one(
    image: int, objective: Objective, value: float, views: dict[str, View], score: Score
) -> Measured:
    term = objective.terms[0]
    if len(objective.terms) != 1 or term.kind in ("direction", "energy") or abs(term.weight) != 1:
        return Measured(value, None)
    plane = views[term.layer.name].values[image, term.unit]
    highest = plane.max() if term.weight > 0 else plane.min()
    peak = float(plane.mean() if score == "mean" else highest)
    return Measured(peak if term.kind == "channel" else value * term.weight, peak)
