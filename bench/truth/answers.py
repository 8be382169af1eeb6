"""How telling explanations of one kind are, unit by unit."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.truth.judge import accuracy

NORMAL_95 = 1.96
"""Standard errors to either side in a 95 % interval of a normal distribution."""


@dataclass(frozen=True, slots=True)
class Told:
    """How telling explanations of one kind are: accuracies of each unit, in both centrings.

    Args:
        units: in order.
        common, own: of a unit's own explanation.
        other_common, other_own: of the next unit's explanation, the control.
    """

    units: tuple[int, ...]
    common: tuple[float, ...]
    own: tuple[float, ...]
    other_common: tuple[float, ...]
    other_own: tuple[float, ...]


def tell(
    questions: Mapping[int, tuple[Tensor, Tensor]], features: Mapping[int, Tensor], common: Tensor
) -> Told:
    """Let explanations of one kind answer the questions of their units, and of their neighbours.

    Args:
        questions: by unit, (patch, feature) of its top and of its lowest images.
        features: by unit, (picture, feature) of its explanation.
        common: (feature,) of patches anywhere.
    """
    units = [unit for unit in questions if unit in features]
    own = torch.cat([features[unit] for unit in units]).mean(0)
    columns: list[list[float]] = [[], [], [], []]
    for number, unit in enumerate(units):
        top, low = (each - common for each in questions[unit])
        neighbour = units[(number + 1) % len(units)]
        for place, (explaining, mean) in enumerate(
            ((unit, common), (unit, own), (neighbour, common), (neighbour, own))
        ):
            columns[place].append(accuracy(top, low, features[explaining] - mean))
    return Told(tuple(units), *(tuple(column) for column in columns))


def interval(values: Sequence[float]) -> tuple[float, float]:
    """The mean, and the half-width of its 95 % confidence interval (normal approximation)."""
    mean = sum(values) / len(values)
    if len(values) < 2:
        return mean, math.nan
    variance = sum((value - mean) ** 2 for value in values) / (len(values) - 1)
    return mean, NORMAL_95 * math.sqrt(variance / len(values))
