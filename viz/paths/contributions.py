"""What the units of earlier layers contribute to an objective: gradient times activation.

The sum over positions of activation * d(objective)/d(activation) is the first-order estimate of how much
the objective would fall if the unit were set to zero (Simonyan et al. 2013, arXiv:1312.6034; "gradient *
input" of Shrikumar et al. 2016, arXiv:1605.01713, at a layer inside). Nothing outside the target's
receptive field contributes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pipeline.layers.choose import choose_layers
from pipeline.layers.layer import Layer
from pipeline.networks.network import Network, device_of
from viz.objectives.objective import Objective
from viz.passes.contribution_maps import contribution_maps
from viz.passes.folding import find_folding
from viz.passes.watch import PASS_IMAGES, Watch
from viz.paths.windows import find_windows
from viz.planning.chokepoints import chokepoint_maps

__all__ = ["Contributions", "layers_before"]

LEAST_UNITS = 8
"""Units of a layer whose contributions are compared: a correlation over fewer says little."""

LEAST_LAYERS = 2
"""Layers that are compared at least, if there are that many."""


class Contributions:
    """Computes what units of the layers before a layer contribute to objectives of that layer.

    For objectives at a position only the window of it is run, where that is enough; see `viz.paths.windows`.

    Args:
        network: in eval mode, frozen; runs a few trial passes.
        layer: of that network.
    """

    def __init__(self, network: Network, layer: Layer) -> None:
        self.network, self.layer = network, layer
        self.before = layers_before(network, layer)
        self.windows = find_windows(network, layer)
        with Watch(network, [layer], None) as watch:
            self._folding = find_folding(network.module, lambda: _sample_activations(watch))

    def __call__(self, pictures: Tensor, objectives: Sequence[Objective]) -> list[Tensor]:
        """Compute the contribution of every unit to the objective of each picture.

        Args:
            pictures: (image, channel, y, x) on 0..255, whole inputs.
            objectives: one per picture, of one term each, all of the layer and of one kind.

        Returns:
            For each layer before (image, unit) float64 on the CPU; zeros where the objective does not
            depend on it.

        Raises:
            LayerError: when a layer did not run, or no gradient flows through it.
        """
        if self.windows is not None and objectives[0].terms[0].kind == "point":
            pictures, objectives = self.windows.cut(pictures, objectives)
        found: list[list[Tensor]] = [[] for _ in self.before]
        for first in range(0, len(pictures), PASS_IMAGES):
            part = slice(first, first + PASS_IMAGES)
            for kept, values in zip(found, self._one_pass(pictures[part], objectives[part]), strict=True):
                kept.append(values)
        return [torch.cat(each) for each in found]

    def _one_pass(self, pictures: Tensor, objectives: Sequence[Objective]) -> list[Tensor]:
        count = len(pictures)
        if count == 1:  # as elsewhere: a pass of one image has other bits than a pass of several
            pictures, objectives = pictures.repeat(2, 1, 1, 1), [*objectives, *objectives]
        maps = contribution_maps(
            self.network, self.before, self.layer, pictures, objectives, folding=self._folding
        )
        return [each.sum((2, 3), dtype=torch.float64).cpu()[:count] for each in maps]


def layers_before(network: Network, layer: Layer) -> tuple[Layer, ...]:
    """The layers whose contributions to a layer's units are compared, in forward order.

    They follow from the architecture, not from what was indexed: the later half of the usual layers before
    the layer, or if there are none, the maps before it that every path from the input goes through. The
    first layers have few units, and by them patches of one unit differ most, at the highest cost.

    Args:
        network: runs a few trial passes.
        layer: of that network; it is not among those returned.
    """
    usual = [each.name for each in choose_layers(network, receptive_fields=False)]
    names = usual if layer.name in usual else [*usual, layer.name]
    found = choose_layers(network, names, receptive_fields=False)
    place = [each.name for each in found].index(layer.name)
    before = _wide(found[:place])
    if before:
        return before[max(0, min(len(before) // 2, len(before) - LEAST_LAYERS)) :]
    maps = list(chokepoint_maps(network, layer.name))
    return _wide(choose_layers(network, maps, receptive_fields=False)) if maps else ()


def _wide(layers: Sequence[Layer]) -> tuple[Layer, ...]:
    return tuple(layer for layer in layers if layer.units >= LEAST_UNITS)


def _sample_activations(watch: Watch) -> list[Tensor]:
    """The watched layers' activations on two random pictures, the same at every call."""
    generator = torch.Generator().manual_seed(0)
    pictures = 255 * torch.rand((2, *watch.network.input_shape), generator=generator)
    views = watch(pictures.to(device_of(watch.network)))
    return [view.values.float() for view in views.values()]
