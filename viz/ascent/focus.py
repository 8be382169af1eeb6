"""Where in its top patches a unit sees what activates it: weights of positions.

A patch also shows what the unit ignores, such as the background. A position's contribution to the unit's
activation is gradient times activation there, summed over channels, at the layers before the unit's own
(`viz.ascent.relevance`). Statistics in which positions count by their contribution are those of what the unit
responds to.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.layers.layer import Layer
from pipeline.networks.network import Network
from viz.ascent.close_up import box_of
from viz.ascent.relevance import contribution_maps
from viz.canvas import Canvas
from viz.objectives.objective import Objective
from viz.passes.frozen import Folding
from viz.passes.watch import PASS_IMAGES
from viz.pixels import blur

__all__ = ["Focus", "find_focus"]

BLUR = 0.1
"""Standard deviation of the blur of a map, as a share of the receptive field: gradients are uneven."""


class Focus:
    """By how much the positions of some patches count.

    Args:
        maps: (patch, 1, y, x) of the window, 0 or more.
        share: of the weight that goes by the maps; the rest goes to all positions alike.
        canvas: of the patches.
    """

    def __init__(self, maps: Tensor, share: float, canvas: Canvas) -> None:
        self.maps, self.share, self.canvas = maps, share, canvas

    def window(self, weight: Tensor) -> Tensor:
        """Weights of the positions of a layer's maps of the window.

        Args:
            weight: (y, x) that every patch would have alike.

        Returns:
            (patch, 1, y, x), each of sum 1.
        """
        return self._mix(self.maps, weight)

    def close_up(self, weight: Tensor) -> Tensor:
        """The same of the close-up, which shows the canvas's box alone."""
        return self._mix(box_of(self.maps, self.canvas), weight)

    def _mix(self, maps: Tensor, weight: Tensor) -> Tensor:
        alike = weight / weight.sum()
        found = alike * F.adaptive_avg_pool2d(maps, (weight.shape[0], weight.shape[1]))
        total = found.sum((2, 3), keepdim=True)
        found = torch.where(total > 0, found / total.clamp(min=torch.finfo(total.dtype).tiny), alike)
        return (1 - self.share) * alike + self.share * found


def find_focus(
    network: Network,
    canvas: Canvas,
    layers: Sequence[Layer],
    patches: Tensor,
    objective: Objective,
    share: float,
    folding: Folding | None = None,
) -> Focus | None:
    """Measure where the patches of a unit activate it.

    Args:
        network: in eval mode, frozen.
        canvas: whose windows the patches are.
        layers: up to the unit's own at most; maps of those before it are added up, each with the same mean.
        patches: (patch, channel, y, x) on 0..255.
        objective: of the unit.
        share: as of `Focus`.
        folding: of the network in float32, for faster passes.

    Returns:
        None where no layer is before the unit's own.

    Raises:
        LayerError: when a layer did not run, or no gradient flows through it.
    """
    before = [layer for layer in layers if layer.name != objective.layers[0].name]
    if not before:
        return None
    box = canvas.box
    sigma = BLUR * ((box.bottom - box.top) + (box.right - box.left)) / 2
    parts = [
        _drives(contribution_maps(network, canvas, before, part, objective, folding).values(), part.shape[2:])
        for part in torch.split(patches, PASS_IMAGES)
    ]
    return Focus(blur(torch.cat(parts), sigma), share, canvas)


def _drives(contributions: Iterable[Tensor], size: Sequence[int]) -> Tensor:
    """(patch, 1, y, x) of a size: the sum of the layers' positive contributions, each of mean 1."""
    total: Tensor | float = 0.0
    for each in contributions:
        drives = each.sum(1, keepdim=True).clamp(min=0)
        scale = drives.mean((2, 3), keepdim=True)
        drives = torch.where(scale > 0, drives / scale.clamp(min=torch.finfo(scale.dtype).tiny), 0)
        total = total + F.interpolate(drives, tuple(size), mode="bilinear", align_corners=False)
    assert isinstance(total, Tensor)
    return total
