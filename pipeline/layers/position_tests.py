"""Measure which part of the input each position of a layer responds to.

Random parts of random pictures are replaced. A position responds by the change of its units, and the
change of a part of the input is the mean square of its pixels' change. Over a set of such pictures the
response of a position goes with the change of the place that it looks at most, so that the two are
correlated; with other places it goes only as far as these are seen too. All positions of all layers
are tested by the same few passes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from pipeline.layers.layer import Layer, stored_positions
from pipeline.networks.addresses import RunCounter
from pipeline.networks.extra_modules import find_module
from pipeline.networks.hooks import ForwardHook, StopForward, add_hooks, run_until_stopped
from pipeline.networks.network import Network, device_of

__all__ = ["Evidence", "Responses", "compare", "correlate", "respond", "windows"]

PASS_IMAGES = 8
"""Changed pictures per pass, beside the one that they are compared with."""

GRAINS = (1, 4, 16)
"""Pixels to a side of the squares of one colour that random pictures consist of, in sum."""

OTHERS = 32
"""Random assignments of places to positions that the claimed one is compared with."""

RIVALS = 8
"""Of these, the ones whose place the claimed place must beat for a position to count as its own."""


@dataclass(frozen=True, slots=True)
class Responses:
    """What a set of changed pictures did.

    Args:
        change: (image, y, x), mean square change of the pixels.
        layers: (image, place) change of each layer's stored positions, prefix tokens included, by name.
    """

    change: Tensor
    layers: dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class Evidence:
    """How well responses go with the places that positions are said to look at.

    Args:
        own: share of positions whose place explains their response better than each of some other places.
        above: share of positions whose place explains it better than other places on average.
        deviations: distance of the mean correlation from that of random assignments, in their
            standard deviations.
    """

    own: float
    above: float
    deviations: float


def _pictures(generator: torch.Generator, shape: tuple[int, int, int], count: int) -> Tensor:
    """Random pictures (image, channel, y, x) on 0..255 with detail at several scales."""
    channels, height, width = shape
    total = torch.zeros(count, *shape)
    for grain in GRAINS:
        size = (count, channels, -(-height // grain), -(-width // grain))
        squares = torch.rand(size, generator=generator) - 0.5
        total += functional.interpolate(squares, scale_factor=grain)[:, :, :height, :width]
    scaled: Tensor = 127.5 + 255 * total / len(GRAINS) ** 0.5
    return scaled.clamp(0, 255).round()


def _masks(
    generator: torch.Generator, shape: tuple[int, int, int], grid: tuple[int, int] | None, count: int
) -> Tensor:
    """(image, 1, y, x), 1 where a picture changes, in half of it.

    Args:
        generator: of random numbers.
        shape: of a picture.
        grid: rows and columns of the cells that change independently; None for parts of all sizes.
        count: number of masks.
    """
    _, height, width = shape
    if grid is not None:
        field = torch.randn(count, 1, *grid, generator=generator)
    else:
        field, cells = torch.zeros(count, 1, height, width), 1
        while cells <= max(height, width) / 4:
            part = torch.randn(count, 1, cells, cells, generator=generator)
            field += functional.interpolate(part, (height, width))
            cells *= 2
    changed = field > field.flatten(1).median(1).values.view(-1, 1, 1, 1)
    return functional.interpolate(changed.float(), (height, width))


def respond(
    network: Network,
    layers: Sequence[Layer],
    *,
    passes: int,
    grid: tuple[int, int] | None = None,
    seed: int = 0,
) -> Responses:
    """Run a network on changed pictures.

    Args:
        network: in eval mode.
        layers: of that network, in forward order.
        passes: of 8 pictures each, which are all compared with one more.
        grid: cells of the input that change independently; None: parts of all sizes.
        seed: of the random pictures.
    """
    generator = torch.Generator().manual_seed(seed)
    changes: list[Tensor] = []
    found: dict[str, list[Tensor]] = {layer.name: [] for layer in layers}
    waiting: set[str] = set()
    runs = RunCounter()

    def hook_for(layer: Layer) -> ForwardHook:
        def hook(_module: Any, _inputs: Any, output: Any) -> None:
            if not runs.is_meant(layer.name, layer.run):
                return
            values = stored_positions(layer, output).float()
            found[layer.name].append((values[1:] - values[:1]).square().sum(1).cpu())
            waiting.discard(layer.name)
            if not waiting:
                raise StopForward

        return hook

    parameter = next(network.module.parameters(), None)
    kind = torch.float32 if parameter is None else parameter.dtype
    hooks = [(find_module(network.module, layer.module), hook_for(layer)) for layer in layers]
    with add_hooks(forward=hooks), torch.no_grad():
        for _ in range(passes):
            two = _pictures(generator, network.input_shape, 2)
            before, after = two[:1], two[1:]
            mask = _masks(generator, network.input_shape, grid, PASS_IMAGES)
            pictures = torch.cat([before, before + mask * (after - before)])
            batch = network.normalise(pictures.to(device_of(network)))
            changes.append((batch[1:] - batch[:1]).square().mean(1).cpu())
            waiting.update(found)
            runs.clear()
            run_until_stopped(network.module, batch.to(kind))
    return Responses(torch.cat(changes), {name: torch.cat(parts) for name, parts in found.items()})


def windows(length: int, positions: int, first: float, step: float, size: float) -> Tensor:
    """Weights of pixels in the means over evenly spaced windows, (position, pixel).

    Args:
        length: number of pixels.
        positions: number of windows.
        first: centre of the first one, in pixels.
        step: from one centre to the next.
        size: pixels of a window; the part of it that is inside counts.
    """
    centres = first + step * torch.arange(positions)[:, None]
    pixels = torch.arange(length)
    ends = torch.minimum(centres + size / 2, pixels + 1)
    weights = (ends - torch.maximum(centres - size / 2, pixels)).clamp(min=0)
    return weights / weights.sum(1, keepdim=True).clamp(min=1e-9)


def _normal(values: Tensor) -> Tensor:
    """Columns (image, position) with mean 0 and length 1; zeros where they do not vary.

    What all positions of an image have in common says nothing about places, and is removed first.
    """
    centred = values - values.mean(1, keepdim=True)
    centred = centred - centred.mean(0)
    return torch.nan_to_num(centred / centred.norm(dim=0).clamp(min=1e-12))


def _changes(change: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """(image, place) mean change in every window of a grid."""
    return torch.einsum("yh,ihw,xw->iyx", rows, change, columns).flatten(1)


def compare(response: Tensor, change: Tensor, rows: Tensor, columns: Tensor) -> Evidence:
    """Compare responses with the change at the places that positions are said to look at.

    Args:
        response: (image, position), in the order of the grid.
        change: (image, y, x) of the pixels.
        rows, columns: windows of the places, as from `windows`.
    """
    seen, said = _normal(response.sqrt()), _normal(_changes(change, rows, columns))
    own = (seen * said).sum(0)
    generator = torch.Generator().manual_seed(0)
    count = len(own)
    steps = torch.randint(1, count, (OTHERS, count), generator=generator)
    places = (torch.arange(count) + steps) % count
    others = torch.stack([(seen * said[:, place]).sum(0) for place in places])
    means = others.mean(1)
    return Evidence(
        float((own > others[:RIVALS].amax(0)).float().mean()),
        float((own > others.mean(0)).float().mean()),
        float((own.mean() - means.mean()) / means.std().clamp(min=1e-9)),
    )


def correlate(response: Tensor, change: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Correlations of all responses with all places, (position, place)."""
    return _normal(response.sqrt()).T @ _normal(_changes(change, rows, columns))
