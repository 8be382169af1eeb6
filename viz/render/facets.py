"""Sorts a unit's top images into facets, and lays an image so that its peak is at the target.

Nguyen, Yosinski and Clune 2016: images that drive a unit for different reasons lie apart in the
network's penultimate features; the mean of the images around each centre is a start that already
has one facet's large shapes and colours.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Generator, Tensor, nn

from pipeline.layers.layer import Layer
from pipeline.networks.hooks import add_hooks
from pipeline.networks.network import Network, device_of
from viz.canvas import Canvas
from viz.passes.fast_ops import QuickConvolutions
from viz.passes.watch import PASS_IMAGES

__all__ = ["cluster", "lay", "penultimate"]

ROUNDS = 50
"""Of k-means; a few dozen images settle in fewer than ten."""


def penultimate(network: Network, pictures: Tensor) -> Tensor:
    """What goes into the network's last linear layer; without one, its output.

    Args:
        network: any.
        pictures: (image, channel, y, x) uint8.

    Returns:
        (image, feature) float32 on the CPU.
    """
    last = [module for module in network.module.modules() if isinstance(module, nn.Linear)][-1:]
    seen: list[Tensor] = []

    def keep(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        seen.append(inputs[0].detach())

    with add_hooks(pre=[(module, keep) for module in last]), torch.no_grad(), QuickConvolutions():
        for first in range(0, len(pictures), PASS_IMAGES):
            chunk = pictures[first : first + PASS_IMAGES].to(device_of(network))
            output = network.module(network.normalise(chunk))
            if not last:
                seen.append(output)
    return torch.cat([each.float().flatten(1).cpu() for each in seen])


def cluster(
    features: Tensor, clusters: int, nearest: int, components: int, generator: Generator
) -> list[list[int]]:
    """k-means in the first principal components, the largest cluster first.

    Args:
        features: (image, feature).
        clusters: how many; no more than images.
        nearest: images listed of each.
        components: of the principal component analysis.
        generator: draws the first centres (k-means++).

    Returns:
        For each cluster its images, nearest to the centre first.
    """
    points = _principal(features, components)
    centres = _first_centres(points, min(clusters, len(points)), generator)
    for _ in range(ROUNDS):
        labels = torch.cdist(points, centres).argmin(1)
        moved = torch.stack(
            [
                points[labels == number].mean(0) if (labels == number).any() else centre
                for number, centre in enumerate(centres)
            ]
        )
        if torch.equal(moved, centres):
            break
        centres = moved
    distances = torch.cdist(points, centres)
    members = [(distances.argmin(1) == number).nonzero().flatten() for number in range(len(centres))]
    order = sorted(range(len(members)), key=lambda number: (-len(members[number]), number))
    return [
        members[number][distances[members[number], number].argsort(stable=True)][:nearest].tolist()
        for number in order
        if len(members[number])
    ]


def _principal(features: Tensor, components: int) -> Tensor:
    centred = (features - features.mean(0)).double()
    _, _, axes = torch.linalg.svd(centred, full_matrices=False)
    points: Tensor = centred @ axes[:components].T
    return points


def _first_centres(points: Tensor, count: int, generator: Generator) -> Tensor:
    """k-means++: each next centre is drawn in proportion to its squared distance to the others."""
    first = int(torch.randint(len(points), (1,), generator=generator))
    chosen = [first]
    while len(chosen) < count:
        apart = torch.cdist(points, points[chosen]).min(1).values.square()
        # Copies of a chosen image have no chance, unless only copies are left.
        weights = apart if apart.sum() > 0 else torch.ones_like(apart)
        chosen.append(int(torch.multinomial(weights, 1, generator=generator)))
    return points[chosen]


def lay(
    picture: Tensor, layer: Layer, peak: tuple[int, int], target: tuple[int, int], canvas: Canvas
) -> Tensor:
    """Cut the canvas out of an image moved so that its peak lies where the target is.

    Args:
        picture: (channel, y, x), the network's whole input.
        layer: of the unit.
        peak: grid position of the unit's peak in the image.
        target: grid position that the rendering is for.
        canvas: what is cut; beyond the image's border its last pixels go on.
    """
    height, width = canvas.size
    down = (peak[0] - target[0]) * layer.stride_y + canvas.top - canvas.margin
    right = (peak[1] - target[1]) * layer.stride_x + canvas.left - canvas.margin
    rows = (torch.arange(height) + down).clamp(0, picture.shape[1] - 1)
    columns = (torch.arange(width) + right).clamp(0, picture.shape[2] - 1)
    return picture[:, rows][:, :, columns]


def mean_of(pictures: Sequence[Tensor]) -> Tensor:
    """The mean picture, float."""
    return torch.stack(list(pictures)).float().mean(0)
