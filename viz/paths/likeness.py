"""How much of what drives a picture's unit comes by units that also drive it in its own top patches.

Renderings can take other paths through a network than photographs do, and then show nothing of what
photographs do to the unit (Geirhos et al. 2024, "Don't trust your eyes: on the (un)reliability of feature
visualizations", arXiv:2306.04719). Their measure correlates activations. Here shares of contributions are
compared: activations also hold all that has nothing to do with the unit, by which renderings in honest
networks differ from photographs as well. And they are compared unit by unit with the range of the patches,
not by correlation: patches of one unit can differ much among themselves and still come by the same units.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["UNUSUAL", "Reference", "is_unusual", "make_reference"]

UNUSUAL = 0.5
"""A rendering below this has an unusual path: most of what drives it drives none of the patches. It was not
tuned: where it was chosen, honest renderings are above 0.6, and fooled ones below 0.2. What it does on other
units is in `bench/README.md`."""

UNUSUAL_PATCHES = 1
"""Own patches that may be unusual by the others, each left out; with more, an unusual path means nothing."""


@dataclass(frozen=True, slots=True)
class Reference:
    """The range of the shares of contributions in a unit's top patches.

    Args:
        lowest: of each layer, (unit,): the lowest share in a patch, at most 0.
        highest: of each layer, (unit,): the highest share in a patch, at least 0.
        left_out: (patch,) the path of each own patch, compared with the others.
    """

    lowest: tuple[Tensor, ...]
    highest: tuple[Tensor, ...]
    left_out: tuple[float, ...]

    def path(self, found: Sequence[Tensor]) -> list[float]:
        """The part of pictures' contributions that the patches have as well, on 0..1.

        It is the least of that over layers, so that a picture that takes another path at a layer is told
        even where it joins the usual one afterwards.

        Args:
            found: of each layer (image, unit) contributions.
        """
        least: list[float] = _least([_shares(each) for each in found], self.lowest, self.highest).tolist()
        return least


def is_unusual(path: float | None) -> bool:
    """Whether a path is known, and below `UNUSUAL`."""
    return path is not None and path < UNUSUAL


def make_reference(own: Sequence[Tensor]) -> Reference | None:
    """The range of a unit's own patches.

    Args:
        own: of each layer (patch, unit) contributions of the unit's own patches, three or more.

    Returns:
        None where the own patches differ so much that more than `UNUSUAL_PATCHES` of them are unusual.
    """
    shares = [_shares(each) for each in own]
    left_out = []
    for place in range(len(own[0])):
        others = [torch.cat([each[:place], each[place + 1 :]]) for each in shares]
        one = [each[place : place + 1] for each in shares]
        left_out += _least(one, *_range(others)).tolist()
    if sum(is_unusual(path) for path in left_out) > UNUSUAL_PATCHES:
        return None
    return Reference(*_range(shares), tuple(left_out))


def _shares(values: Tensor) -> Tensor:
    """(image, unit) contributions over the sum of their magnitudes; zeros stay zeros."""
    total = values.abs().sum(1, keepdim=True)
    return torch.where(total > 0, values / total.clamp(min=1e-300), torch.zeros_like(values))


def _range(shares: Sequence[Tensor]) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Of each layer the lowest and the highest share of each unit, and 0, from (patch, unit) shares."""
    lowest = tuple(each.amin(0).clamp(max=0) for each in shares)
    return lowest, tuple(each.amax(0).clamp(min=0) for each in shares)


def _least(shares: Sequence[Tensor], lowest: Sequence[Tensor], highest: Sequence[Tensor]) -> Tensor:
    """(image,) the sum of the magnitudes of shares within the range, the least over layers."""
    layers = zip(shares, lowest, highest, strict=True)
    return torch.stack([each.clamp(low, high).abs().sum(1) for each, low, high in layers]).amin(0)
