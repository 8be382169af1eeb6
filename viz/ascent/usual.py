"""What usual photographs show at the layers of a likeness: the norm, and the unit of distances."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

from torch import Tensor

from viz.ascent.moments import Moments
from viz.ascent.sorted_features import SortedFeatures

__all__ = ["Features", "Keep", "Usual", "measure_anew", "spread_of"]

Features = Moments | SortedFeatures
"""What is compared of a layer."""

Keep = Callable[[Hashable, Callable[[], dict[str, Tensor]]], dict[str, Tensor]]
"""Gives what was measured before under a key, or else measures it."""

LEAST_SHARE = 0.5
"""Least spread of a channel, as a share of its layer's mean spread: channels that are rarely active
among some dozen photographs would otherwise outweigh the rest."""

LEAST_SPREAD = 1e-3
"""Least spread of a whole layer, and of a unit."""


def measure_anew(key: Hashable, measure: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    """Keep nothing."""
    return measure()


def spread_of(values: Tensor) -> Tensor:
    """Standard deviations over (image, ...), none of them tiny."""
    spread = values.std(0)
    return spread.clamp(min=max(LEAST_SPREAD, LEAST_SHARE * float(spread.mean())))


@dataclass(frozen=True, slots=True)
class Usual:
    """Statistics of usual photographs.

    Args:
        norm: by key of a layer's statistics, their average over photographs.
        spread: likewise, their spread over photographs.
        units: (unit,) spread of the means of the target layer's units.
    """

    norm: dict[str, Any]
    spread: dict[str, Any]
    units: Tensor

    @classmethod
    def of(cls, statistics: Mapping[str, Any], means: Tensor) -> Self:
        """Those of photographs.

        Args:
            statistics: by key, of all photographs.
            means: (image, unit) means over positions of the target layer's maps.
        """
        return cls(
            {key: each.average() for key, each in statistics.items()},
            {key: each.spread(spread_of) for key, each in statistics.items()},
            means.std(0).clamp(min=LEAST_SPREAD),
        )

    def tensors(self) -> dict[str, Tensor]:
        """All tensors by name, as `read` reads them."""
        found = {"units": self.units}
        for part, content in (("norm", self.norm), ("spread", self.spread)):
            for key, each in content.items():
                for field in fields(each):
                    found[f"{part}/{field.name}/{key}"] = getattr(each, field.name)
        return found

    @classmethod
    def read(cls, tensors: Mapping[str, Tensor], kind_of: Callable[[str], type[Features]]) -> Self:
        """What `tensors` gave, each of the kind of statistics that its key has."""
        parts: dict[str, dict[str, dict[str, Tensor]]] = {"norm": {}, "spread": {}}
        for name, tensor in tensors.items():
            if name != "units":
                part, field, key = name.split("/", 2)
                parts[part].setdefault(key, {})[field] = tensor
        norm, spread = (
            {key: kind_of(key)(**each) for key, each in parts[part].items()} for part in ("norm", "spread")
        )
        return cls(norm, spread, tensors["units"])
