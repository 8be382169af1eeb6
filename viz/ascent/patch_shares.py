"""By how much each of a unit's top patches counts in the statistics that a rendering should have."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["patch_shares"]


def patch_shares(scores: Tensor, power: float) -> Tensor:
    """By how much each patch counts, (patch,) of sum 1.

    Args:
        scores: (patch,) above the usual score; those below 0 do not count, unless all are.
        power: of the scores.
    """
    best = scores.max()
    raised = (scores / best).clamp(min=0) ** power if best > 0 else torch.ones_like(scores)
    return raised / raised.sum()
