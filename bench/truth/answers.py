"""Accuracies of the explanations of one kind, unit by unit."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.truth.judge import answer

NORMAL_95 = 1.96
"""Half-width of a 95 % interval of a normal distribution, in standard errors."""


@dataclass(frozen=True, slots=True)
class Told:
    """Accuracies of the explanations of one kind, for each unit in both centrings.

    Args:
        units: in order.
        common, own: accuracy of a unit's own explanation.
        other_common, other_own: accuracy of the next unit's explanation, the control.
        common_answers, own_answers: of each unit, the answers that `common` and `own` are means of:
            1 for a right one, 0.5 for a tie.
    """

    units: tuple[int, ...]
    common: tuple[float, ...]
    own: tuple[float, ...]
    other_common: tuple[float, ...]
    other_own: tuple[float, ...]
    common_answers: tuple[tuple[float, ...], ...] = ()
    own_answers: tuple[tuple[float, ...], ...] = ()


def tell(
    questions: Mapping[int, tuple[Tensor, Tensor]],
    features: Mapping[int, Tensor],
    common: Tensor,
    patches: int = 0,
) -> Told:
    """Answer the questions about each unit with its explanation and with that of the next unit.

    Args:
        questions: by unit, (patch, feature) of its top and of its lowest images.
        features: by unit, (picture, feature) of its explanation.
        common: (feature,), the mean over patches at random positions.
        patches: number of each explanation's first pictures that are real patches where others follow. Own
            centring subtracts the mean of each kind of picture from its own.
    """
    units = [unit for unit in questions if unit in features]
    kinds = [slice(patches), slice(patches, None)] if patches else [slice(None)]
    means = [torch.cat([features[unit][kind] for unit in units]).mean(0) for kind in kinds]

    def own(unit: int) -> Tensor:
        pairs = zip(kinds, means, strict=True)
        return torch.cat([features[unit][kind] - mean for kind, mean in pairs])

    columns: list[list[tuple[float, ...]]] = [[], [], [], []]
    for number, unit in enumerate(units):
        top, low = (each - common for each in questions[unit])
        neighbour = units[(number + 1) % len(units)]
        explanations = (features[unit] - common, own(unit), features[neighbour] - common, own(neighbour))
        for column, explanation in zip(columns, explanations, strict=True):
            column.append(answer(top, low, explanation))
    accuracies = [tuple(sum(each) / len(each) for each in column) for column in columns]
    return Told(tuple(units), *accuracies, *(tuple(column) for column in columns[:2]))


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Compute the mean and the half-width of its 95 % confidence interval (normal approximation)."""
    mean = sum(values) / len(values)
    if len(values) < 2:
        return mean, math.nan
    variance = sum((value - mean) ** 2 for value in values) / (len(values) - 1)
    return mean, NORMAL_95 * math.sqrt(variance / len(values))
