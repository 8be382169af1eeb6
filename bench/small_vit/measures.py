"""What is measured of renderings: how strongly and robustly they activate, here and in another network."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from bench.small_vit.network import PATCH
from pipeline.layers.layer import Layer
from pipeline.networks.network import Network
from pipeline.query.index import Index
from viz.inputs.inputs import Inputs
from viz.objectives.objective import point
from viz.passes.watch import Watch
from viz.recipes.base import Recipe
from viz.render.measure import on_input, open_picture
from viz.render.table import Rendered

TOP = 9
"""Real images of a unit with which the other network's activation is compared."""

ALIKE = 0.4
"""Correlation over images from which on a unit of another network counts as the same."""

SEEN = 64
"""Pictures in a pass."""


@dataclass(frozen=True, slots=True)
class Numbers:
    """Medians over units; those of real images first have `ratio` 1 or less.

    Args:
        ratio: peak over the highest one of the indexed images.
        moved: peak averaged over shifts by 0, 2, 4 and 6 pixels both ways, over the peak unmoved.
        jpeg: peak after JPEG of quality 50, over the peak before.
        cropped: peak of the inner seven eighths, enlarged, over the peak of the whole.
        grid: mean difference of neighbouring pixels across borders of patches, over that within.
        transfer: peak of the unit's counterpart in another network, from 0 for the mean over images to 1
            for the mean of the unit's top images there; over units that have a counterpart.
    """

    ratio: float
    moved: float
    jpeg: float
    cropped: float
    grid: float
    transfer: float


def header() -> str:
    """Of a table of `Numbers`."""
    names = [field.name for field in fields(Numbers)]
    return f"| layer | pictures | fine | {' | '.join(names)} |\n|{'---|' * (len(names) + 3)}"


def table_row(layer: str, title: str, numbers: Numbers, statuses: Sequence[str] = ()) -> str:
    """A row of that table; `fine` is the share of renderings with status ok or retried."""
    fine = f"{np.mean([status in ('ok', 'retried') for status in statuses]):.0%}" if statuses else ""
    cells = [f"{getattr(numbers, field.name):.2f}" for field in fields(Numbers)]
    return f"| `{layer}` | {title} | {fine} | {' | '.join(cells)} |"


@dataclass(frozen=True, slots=True)
class Twins:
    """Another network, and which of its units respond to the same images as those of the first.

    Args:
        network: the other one.
        layers: some of its layers.
        unit: (unit,) the unit of those layers which correlates most, for each unit of the first.
        r: (unit,) correlation of peaks over images.
        low: (unit,) mean peak over images there.
        high: (unit,) mean peak there over the images that are highest here.
    """

    network: Network
    layers: Sequence[Layer]
    unit: Tensor
    r: Tensor
    low: Tensor
    high: Tensor

    def some(self, units: Sequence[int]) -> bool:
        """Whether any of these units has a counterpart."""
        return bool((self.r[list(units)] >= ALIKE).any())

    def __call__(self, pictures: Sequence[Tensor], units: Sequence[int]) -> list[float]:
        """How far each picture drives the counterpart of its unit; NaN for units without one."""
        found = peaks(self.network, self.layers, pictures)
        rows = []
        for place, unit in enumerate(units):
            low, high = self.low[unit], self.high[unit]
            share = (found[place, self.unit[unit]] - low) / (high - low)
            rows.append(float(share) if self.r[unit] >= ALIKE else float("nan"))
        return rows


def find_twins(
    network: Network, layer: Layer, other: Network, layers: Sequence[Layer], images: Sequence[Tensor]
) -> Twins:
    """Match the units of layers of two networks by the correlation of their peaks.

    Args:
        network, layer: the first.
        other, layers: the second, and those of its layers whose units are considered.
        images: each (channel, y, x) uint8, of the first network's size.
    """
    here, there = peaks(network, [layer], images), peaks(other, layers, images)
    scaled = [(each - each.mean(0)) / each.std(0).clamp(min=1e-9) for each in (here, there)]
    r, unit = (scaled[0].T @ scaled[1] / (len(images) - 1)).max(1)
    highest = here.topk(TOP, dim=0).indices
    high = there[:, unit].gather(0, highest).mean(0)
    return Twins(other, layers, unit, r, there.mean(0)[unit], high)


def peaks(network: Network, layers: Sequence[Layer], pictures: Sequence[Tensor]) -> Tensor:
    """(image, unit) float32: maxima over positions, layer after layer, of pictures resized to the input."""
    found, size = [], network.input_shape[1:]
    with torch.no_grad(), Watch(network, layers, None) as watch:
        for first in range(0, len(pictures), SEEN):
            shown = torch.stack(list(pictures[first : first + SEEN]))
            if shown.shape[2:] != size:
                larger = F.interpolate(shown.float(), size, mode="bicubic", antialias=True)
                shown = larger.round().clamp(0, 255).byte()
            views = watch(shown)
            found.append(torch.cat([views[each.name].values.float().amax((2, 3)) for each in layers], 1))
    return torch.cat(found)


def as_shown(index: Index, network: Network, recipe: Recipe, layer: Layer, row: Rendered) -> Tensor:
    """A rendering on the whole input, (channel, y, x) uint8."""
    canvas = recipe.canvas(Inputs(network, index), layer, point(layer, row.unit))
    picture = open_picture(index.out / row.file, 3)
    return on_input(network, [picture], canvas, recipe.zoom)[0]


def measure_pictures(
    network: Network, layer: Layer, pictures: Mapping[int, Tensor], best: Mapping[int, float], twins: Twins
) -> Numbers:
    """Measure one picture of each unit.

    Args:
        network: of the units.
        layer: of the units.
        pictures: by unit, (channel, y, x) uint8 of the network's size.
        best: by unit, the highest peak of the indexed images.
        twins: of the layer.
    """
    units, shown = list(pictures), list(pictures.values())
    own = _own(network, layer, shown, units)
    shifts = [(down, right) for down in range(0, PATCH, 2) for right in range(0, PATCH, 2)]
    moved = np.mean([_own(network, layer, [p.roll(s, (1, 2)) for p in shown], units) for s in shifts], axis=0)
    jpeg, cropped = (_own(network, layer, [change(p) for p in shown], units) for change in (_jpeg, _crop))
    reached = np.array([best[unit] for unit in units])
    return Numbers(
        *(
            float(np.nanmedian(values))
            for values in (
                own / reached,
                *(each / np.maximum(own, 1e-6) for each in (moved, jpeg, cropped)),
                [_grid(picture) for picture in shown],
                twins(shown, units) if twins.some(units) else [np.nan],
            )
        )
    )


def _own(network: Network, layer: Layer, pictures: Sequence[Tensor], units: Sequence[int]) -> np.ndarray:
    """Peak of each picture's own unit."""
    found = peaks(network, [layer], pictures)
    return found[torch.arange(len(units)), torch.tensor(units)].numpy()


def _jpeg(picture: Tensor) -> Tensor:
    with io.BytesIO() as file:
        Image.fromarray(picture.permute(1, 2, 0).numpy()).save(file, "JPEG", quality=50)
        with Image.open(file) as image:
            return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def _crop(picture: Tensor) -> Tensor:
    side = picture.shape[1]
    edge = side // 16
    inner = picture[None, :, edge : side - edge, edge : side - edge].float()
    return F.interpolate(inner, (side, side), mode="bicubic", antialias=True)[0].round().clamp(0, 255).byte()


def _grid(picture: Tensor) -> float:
    steps = picture.float().diff(dim=2).abs().mean((0, 1))
    border = (torch.arange(len(steps)) + 1) % PATCH == 0
    return float(steps[border].mean() / steps[~border].mean())


def save_strip(pictures: Mapping[int, Tensor], file: Path) -> None:
    """Pictures side by side, twice as large."""
    image = Image.fromarray(np.concatenate([each.permute(1, 2, 0).numpy() for each in pictures.values()], 1))
    image.resize((2 * image.width, 2 * image.height), Image.Resampling.NEAREST).save(file)
