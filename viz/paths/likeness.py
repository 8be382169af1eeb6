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


@dataclass(frozen=True, slots=True)
class Reference:
    """What the contributions behind a unit's top patches have in common.

    Args:
        means: of each layer, (unit,): the mean of the patches' standardised contributions.
        zero: mean likeness of other units' patches.
        one: mean likeness of the unit's own patches, each to the others.
        left_out: (patch,) that likeness of each own patch, on the scale of `path`.
    """

    means: tuple[Tensor, ...]
    zero: float
    one: float
    left_out: tuple[float, ...]

    def path(self, found: Sequence[Tensor]) -> list[float]:
        """The likeness of pictures: 1 as the unit's own patches have, 0 as other units' patches have.

        Args:
            found: of each layer (image, unit) contributions.
        """
        return self._scaled(_likeness(found, self.means))

    def _scaled(self, likeness: Tensor) -> list[float]:
        scaled: list[float] = ((likeness - self.zero) / (self.one - self.zero)).tolist()
        return scaled


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
    left_out = torch.stack(
        [
            _likeness(
                [each[place : place + 1] for each in own],
                [(each.sum(0) - each[place]) / (count - 1) for each in standardised],
            )[0]
            for place in range(count)
        ]
    )
    means = tuple(each.mean(0) for each in standardised)
    foreign = _likeness(others, means)
    one, zero = float(left_out.mean()), float(foreign.mean())
    if not one - zero > RESOLUTION * float(left_out.std()):
        return None
    return Reference(means, zero, one, tuple(((left_out - zero) / (one - zero)).tolist()))


def _likeness(found: Sequence[Tensor], means: Sequence[Tensor]) -> Tensor:
    """(image,) Pearson correlation over units with each patch, averaged over patches and layers.

    The mean of the standardised patches is not standardised again: it is short in a layer where they have
    nothing in common, so that such a layer says little.
    """
    each = [_standardised(values) @ mean for values, mean in zip(found, means, strict=True)]
    return torch.stack(each).mean(0)


def _standardised(values: Tensor) -> Tensor:
    """(image, unit) of mean 0 and length 1 over units; zeros stay zeros."""
    centred = values - values.mean(1, keepdim=True)
    length = centred.norm(dim=1, keepdim=True)
    return torch.where(length > 0, centred / length.clamp(min=1e-300), torch.zeros_like(centred))
