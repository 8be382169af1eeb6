"""What a saved picture really does to the network: no transform, no rule, no rounding left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pipeline.networks import Network
from pipeline.peaks import Score
from viz.canvas import Canvas, place
from viz.objective import Objective, View, evaluate
from viz.scorer import PASS_IMAGES, Watch

__all__ = ["Measured", "device_of", "matches_whole_input", "measure", "open_picture"]

CANVAS_TOLERANCE = 1e-4
"""Largest difference between a window's activation and the whole input's, relative to the largest
activation there."""


@dataclass(frozen=True, slots=True)
class Measured:
    """Of one picture.

    Args:
        activation: at the target's position for a point, the peak for a channel, the objective's
            value otherwise.
        peak: of the only unit in the objective, as the index scores a picture: maximum over
            positions (minimum, where the unit is to be low) or mean; None when there is not just
            one unit.
    """

    activation: float
    peak: float | None


def device_of(network: Network) -> torch.device:
    """Where a network's parameters are."""
    parameter = next(network.module.parameters(), None)
    return torch.device("cpu") if parameter is None else parameter.device


def open_picture(path: Path, channels: int) -> Tensor:
    """Read a PNG: (channel, y, x) uint8."""
    with Image.open(path) as image:
        pixels = np.array(image.convert("RGB" if channels == 3 else "L"))
    return torch.from_numpy(pixels.reshape(*pixels.shape[:2], channels)).permute(2, 0, 1)


def measure(
    network: Network,
    pictures: Sequence[Tensor],
    objectives: Sequence[Objective],
    canvas: Canvas,
    score: Score = "max",
) -> list[Measured]:
    """Show pictures to the network as the dataset's images are shown, in float32.

    Args:
        network: plain.
        pictures: each (channel, y, x) uint8; the surroundings of a smaller one are the mean
            colour.
        objectives: one per picture.
        canvas: where the pictures lie in the input.
        score: what the index keeps of a unit's positions.
    """
    layers = {layer.name: layer for objective in objectives for layer in objective.layers}
    ordered = sorted(layers.values(), key=lambda layer: layer.ordinal)
    surroundings = _mean_colour(network)
    found: list[Measured] = []
    with Watch(network, ordered, None) as watch, torch.no_grad():
        for first in range(0, len(pictures), PASS_IMAGES):
            chunk = [picture[None] for picture in pictures[first : first + PASS_IMAGES]]
            whole = torch.cat([place(picture, canvas, surroundings) for picture in chunk])
            views = watch(whole.to(device_of(network)))
            found += _read(objectives[first : first + PASS_IMAGES], views, score)
    return found


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
    if len(objective.terms) != 1 or term.kind == "direction" or abs(term.weight) != 1:
        return Measured(value, None)
    plane = views[term.layer.name].values[image, term.unit]
    if score == "mean":
        peak = float(plane.mean())
    else:
        peak = float(plane.max() if term.weight > 0 else plane.min())
    return Measured(peak if term.kind == "channel" else value * term.weight, peak)


def _mean_colour(network: Network) -> Tensor:
    """The network's mean as a colour of the pictures it takes, in their channel order."""
    mean = torch.tensor(network.preprocess.mean)
    if network.preprocess.channels == "bgr":
        mean = mean.flip(0)
    channels = network.input_shape[0]
    return (mean if len(mean) == channels else mean.mean().expand(channels)).round()


def matches_whole_input(network: Network, objective: Objective, canvas: Canvas) -> bool:
    """Whether a window gives the target the same activation as the whole input, by trying it.

    A network that only takes inputs of one size, or whose padding depends on the size in a way
    that the window's alignment does not respect, gives False.
    """
    generator = torch.Generator().manual_seed(0)
    shape = (2, network.input_shape[0], canvas.input_height, canvas.input_width)
    whole = (255 * torch.rand(shape, generator=generator)).to(device_of(network))
    rows = slice(canvas.top, canvas.top + canvas.height)
    columns = slice(canvas.left, canvas.left + canvas.width)
    with torch.no_grad():
        with Watch(network, objective.layers, None) as watch:
            expected = evaluate([objective, objective], watch(whole))
        try:
            with Watch(network, objective.layers, canvas) as watch:
                found = evaluate([objective, objective], watch(whole[:, :, rows, columns]))
        except (RuntimeError, AssertionError, ValueError, IndexError):
            return False
    return bool(torch.allclose(found, expected, rtol=CANVAS_TOLERANCE, atol=CANVAS_TOLERANCE))
