"""The distribution of every channel's values over positions, as sorted values.

Two distributions of one channel are as far apart as their sorted values: the mean squared difference
is the squared 2-Wasserstein distance of one dimension. VITAL (Gorgun, Schiele and Fischer, ICCV 2025)
draws renderings to top patches in this way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

__all__ = ["SortedFeatures", "quantiles"]

LEVELS = 32
"""Quantiles of a channel: maps of any size, with weights, then compare value by value."""


def quantiles(values: Tensor, weight: Tensor, levels: int = LEVELS) -> Tensor:
    """Sort the values of each channel, and take quantiles at the middles of equal shares of the weight.

    Args:
        values: (image, unit, y, x).
        weight: (y, x) of the positions, positive or 0, not all 0, or (image, 1, y, x).
        levels: number of quantiles.

    Returns:
        (image, unit, level), ascending; each is one of the values, and has its gradient.
    """
    ordered, places = values.flatten(2).sort(dim=2)
    by_position = weight.expand(len(values), 1, *values.shape[2:]).flatten(2).expand_as(places)
    reached = by_position.gather(2, places).cumsum(2)
    middles = (torch.arange(levels, device=values.device) + 0.5) / levels
    wanted = (middles * reached[..., -1:]).contiguous()
    found = torch.searchsorted(reached.contiguous(), wanted)
    return ordered.gather(2, found.clamp(max=ordered.shape[2] - 1))


@dataclass(frozen=True, slots=True)
class SortedFeatures:
    """Of one layer: quantiles of each channel, (image, unit, level), or of their spread (unit, level)."""

    values: Tensor

    @classmethod
    def of(cls, values: Tensor, weight: Tensor) -> Self:
        """Those of maps; arguments as of `quantiles`."""
        return cls(quantiles(values, weight))

    @classmethod
    def stack(cls, each: Sequence[Self]) -> Self:
        """Those of several renderings."""
        return cls(torch.stack([one.values for one in each]))

    def average(self, shares: Tensor | None = None) -> Self:
        """The mean over images, (unit, level).

        Args:
            shares: (image,) of sum 1, by which images count; None if all count alike.
        """
        if shares is None:
            return type(self)(self.values.mean(0))
        return type(self)(torch.tensordot(shares, self.values, 1))

    @property
    def mean(self) -> Tensor:
        """The means over positions: those of the quantiles, (..., unit)."""
        return self.values.mean(-1)

    @property
    def deviation(self) -> Tensor:
        """The deviations over positions: those of the quantiles, (..., unit)."""
        return self.values.std(-1, correction=0)

    def spread(self, spread_of: Callable[[Tensor], Tensor]) -> Self:
        """What `spread_of` makes of the quantiles of many images."""
        return type(self)(spread_of(self.values))

    def distance(self, wanted: Self, spread: Self, relevance: Tensor) -> Tensor:
        """(image,) mean squared differences, in units of the spread.

        Args:
            wanted: of each image.
            spread: of the layer.
            relevance: (image, unit) or (unit,) weights of the channels, of mean 1.
        """
        apart = ((self.values - wanted.values) / spread.values).square().mean(2)
        return (apart * relevance).mean(1)

    def beyond(self, norm: Self, times: float, shares: Tensor | None = None) -> Self:
        """The average over images, its distance from the usual average multiplied; ascending again.

        Args:
            norm: the usual average.
            times: factor on the distance.
            shares: as of `average`.
        """
        away = times * (self.average(shares).values - norm.values)
        return type(self)((norm.values + away).sort(1).values)
