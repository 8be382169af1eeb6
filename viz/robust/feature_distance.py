"""How far the features of two networks are apart, in units of their variance over photographs."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from viz.passes.score_term import Views

__all__ = ["feature_distance", "feature_variances"]

LEAST_VARIANCE = 1e-3
"""Of a unit, as a share of the mean variance in its layer."""


def feature_variances(views: Views) -> dict[str, Tensor]:
    """Variance of every unit over images and positions, by layer: (unit, 1, 1).

    A unit that hardly varies gets a share of what is usual in its layer, so that it does not decide
    the distance.
    """
    found = {}
    for name, view in views.items():
        variance = view.values.float().var(dim=(0, 2, 3), correction=0)
        found[name] = variance.clamp(min=LEAST_VARIANCE * float(variance.mean()) + 1e-12).view(-1, 1, 1)
    return found


def feature_distance(found: Views, wanted: Mapping[str, Tensor], variances: Mapping[str, Tensor]) -> Tensor:
    """(image,) mean over layers of the mean squared difference, each unit's relative to its variance.

    Args:
        found: activations by layer; the distance has a gradient with respect to them.
        wanted: (image, unit, y, x) by layer, likewise.
        variances: by layer, of `feature_variances`.
    """
    parts = [
        ((found[name].values.float() - target).square() / variances[name]).mean((1, 2, 3))
        for name, target in wanted.items()
    ]
    return torch.stack(parts).mean(0)
