"""How like the contributions behind a picture are to those behind a unit's own top patches.

Renderings can take other paths through a network than photographs do, and then show nothing of what
photographs do to the unit (Geirhos et al. 2024, "Don't trust your eyes: on the (un)reliability of feature
visualizations", arXiv:2306.04719). Their measure correlates activations. Here contributions to the unit are
correlated instead: activations also hold all that has nothing to do with the unit, by which renderings in
honest networks differ from photographs as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["UNUSUAL", "Reference", "is_unusual", "make_reference"]

UNUSUAL = 0.1
"""A rendering below this has an unusual path. Chosen with 16 units of each of two layers of
EfficientNet-Lite0 and their honest renderings in view, for an earlier likeness; of the top patches that are
left out, 1 % are below 0.7 there. What it does on other units is in `bench/README.md`."""

RESOLUTION = 3.0
"""Standard deviations of a unit's own patches, left out, by which they must be above other units' patches on
average. Where they are not, a path like theirs cannot be told from another one."""

RESOLUTION_ALONE = 8.0
"""The same for one layer that is to count by itself. With 5, three more of 68 honest renderings were unusual,
each by one layer; with 7 and more none. Circuits in the layer before (`bench/fooled.py`) are told as well."""


@dataclass(frozen=True, slots=True)
class Scale:
    """Where on the likeness of contributions other units' patches are, and where the unit's own.

    Args:
        layers: whose correlations are averaged, by their places among those that are compared.
        zero: mean likeness of other units' patches.
        one: mean likeness of the unit's own patches, each to the others.
    """

    layers: tuple[int, ...]
    zero: float
    one: float

    def of(self, correlations: Tensor) -> Tensor:
        """(image,) of (layer, image) correlations."""
        return (correlations[list(self.layers)].mean(0) - self.zero) / (self.one - self.zero)


@dataclass(frozen=True, slots=True)
class Reference:
    """What the contributions behind a unit's top patches have in common.

    Args:
        means: of each layer, (unit,): the mean of the patches' standardised contributions.
        scales: of all layers together, and of each that tells the patches from others by itself.
        left_out: (patch,) the path of each own patch, compared with the others.
    """

    means: tuple[Tensor, ...]
    scales: tuple[Scale, ...]
    left_out: tuple[float, ...]

    def path(self, found: Sequence[Tensor]) -> list[float]:
        """The likeness of pictures: 1 as the unit's own patches have, 0 as other units' patches have.

        It is the least of that over all layers and those of single layers, so that a picture that takes
        another path at a layer is told even where it joins the usual one afterwards.

        Args:
            found: of each layer (image, unit) contributions.
        """
        least: list[float] = _least(self.scales, _correlations(found, self.means)).tolist()
        return least


def is_unusual(path: float | None) -> bool:
    """Whether a path is known, and below `UNUSUAL`."""
    return path is not None and path < UNUSUAL


def make_reference(own: Sequence[Tensor], others: Sequence[Tensor]) -> Reference | None:
    """What a unit's own patches have in common that other units' patches do not.

    Args:
        own: of each layer (patch, unit) contributions of the unit's own patches, three or more.
        others: of each layer (patch, unit) those of patches of other units, two or more.

    Returns:
        None where the own patches differ too much among themselves to be told from others.
    """
    standardised = [_standardised(each) for each in own]
    count = len(own[0])
    left_out = torch.cat(
        [
            _correlations(
                [each[place : place + 1] for each in own],
                [(each.sum(0) - each[place]) / (count - 1) for each in standardised],
            )
            for place in range(count)
        ],
        1,
    )
    means = tuple(each.mean(0) for each in standardised)
    foreign = _correlations(others, means)
    together = _scale(tuple(range(len(own))), left_out, foreign, RESOLUTION)
    if together is None:
        return None
    alone = [_scale((layer,), left_out, foreign, RESOLUTION_ALONE) for layer in range(len(own))]
    scales = (together, *(each for each in alone if each is not None))
    return Reference(means, scales, tuple(_least(scales, left_out).tolist()))


def _scale(layers: tuple[int, ...], left_out: Tensor, foreign: Tensor, resolution: float) -> Scale | None:
    """The scale of some layers, from (layer, patch) correlations; None where it resolves nothing."""
    own, others = (each[list(layers)].mean(0) for each in (left_out, foreign))
    one, zero = float(own.mean()), float(others.mean())
    return Scale(layers, zero, one) if one - zero > resolution * float(own.std()) else None


def _least(scales: Sequence[Scale], correlations: Tensor) -> Tensor:
    """(image,) the least likeness on any scale, from (layer, image) correlations."""
    return torch.stack([scale.of(correlations) for scale in scales]).amin(0)


def _correlations(found: Sequence[Tensor], means: Sequence[Tensor]) -> Tensor:
    """(layer, image) Pearson correlations over units with each patch, averaged over patches.

    The mean of the standardised patches is not standardised again: it is short in a layer where they have
    nothing in common, so that such a layer says little.
    """
    return torch.stack([_standardised(values) @ mean for values, mean in zip(found, means, strict=True)])


def _standardised(values: Tensor) -> Tensor:
    """(image, unit) of mean 0 and length 1 over units; zeros stay zeros."""
    centred = values - values.mean(1, keepdim=True)
    length = centred.norm(dim=1, keepdim=True)
    return torch.where(length > 0, centred / length.clamp(min=1e-300), torch.zeros_like(centred))
