"""The mean and deviation of every channel's values over positions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

__all__ = ["Moments"]

LEAST_VARIANCE = 1e-6
"""Added to a variance: the square root has no gradient at 0."""


@dataclass(frozen=True, slots=True)
class Moments:
    """Of one layer: mean and deviation over positions, (image, unit) each, or of their spread (unit,)."""

    mean: Tensor
    deviation: Tensor

    @classmethod
    def of(cls, values: Tensor, weight: Tensor) -> Self:
        """Those of maps.

        Args:
            values: (image, unit, y, x).
            weight: (y, x) of the positions, of sum 1, or (image, 1, y, x), each of sum 1.
        """
        mean = (values * weight).sum((2, 3))
        off = values - mean[:, :, None, None]
        variance = (off.square() * weight).sum((2, 3))
        return cls(mean, (variance + LEAST_VARIANCE).sqrt())

    @classmethod
    def stack(cls, each: Sequence[Self]) -> Self:
        """Those of several renderings."""
        return cls(torch.stack([one.mean for one in each]), torch.stack([one.deviation for one in each]))

    def average(self, shares: Tensor | None = None) -> Self:
        """The means over images, (unit,) each.

        Args:
            shares: (image,) of sum 1, by which images count; None if all count alike.
        """
        if shares is None:
            return type(self)(self.mean.mean(0), self.deviation.mean(0))
        return type(self)(shares @ self.mean, shares @ self.deviation)

    def spread(self, spread_of: Callable[[Tensor], Tensor]) -> Self:
        """What `spread_of` makes of the means and deviations of many images."""
        return type(self)(spread_of(self.mean), spread_of(self.deviation))

    def distance(self, wanted: Self, spread: Self, relevance: Tensor) -> Tensor:
        """(image,) mean squared differences, in units of the spread.

        Args:
            wanted: of each image.
            spread: of the layer.
            relevance: (image, unit) or (unit,) weights of the channels, of mean 1.
        """
        by_mean = ((self.mean - wanted.mean) / spread.mean).square() * relevance
        by_deviation = ((self.deviation - wanted.deviation) / spread.deviation).square() * relevance
        return by_mean.mean(1) + by_deviation.mean(1)

    def beyond(self, norm: Self, times: float, shares: Tensor | None = None) -> Self:
        """The average over images, its distance from the usual average multiplied.

        Args:
            norm: the usual average.
            times: factor on the distance.
            shares: as of `average`.
        """
        own = self.average(shares)
        mean = norm.mean + times * (own.mean - norm.mean)
        deviation = norm.deviation + times * (own.deviation - norm.deviation)
        return type(self)(mean, deviation.clamp(min=LEAST_VARIANCE**0.5))
