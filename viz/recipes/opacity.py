"""Pictures that are opaque where their pixels mattered."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from viz.ascent.history import AscentResult

__all__ = ["with_opacity"]


def with_opacity(result: AscentResult, opaque: float) -> AscentResult:
    """The pictures with an opacity that grows with the summed size of their pixels' gradients.

    Source: Fel et al. 2023.

    Args:
        result: of an ascent that sums up importance.
        opaque: quantile of a picture's importance from which on its pixels are opaque.
    """
    assert result.importance is not None
    full = result.importance.flatten(1).quantile(opaque, dim=1).clamp(min=1e-30).view(-1, 1, 1, 1)
    return replace(result, alpha=255 * (result.importance / full).clamp(max=1))
