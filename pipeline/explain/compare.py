"""The units that tell two photographs apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.explain.explainer import Explainer, Explanation, UnitResponse
from pipeline.explain.photographs import Photograph
from pipeline.layers.layer import Layer

__all__ = ["Contrast", "contrast_photographs"]


@dataclass(frozen=True, slots=True)
class Contrast:
    """A unit that responds to one photograph otherwise than to another.

    Args:
        layer: of the unit.
        first, second: its responses.
        difference: between the peaks, in standard deviations of the unit's peaks over the index.
    """

    layer: Layer
    first: UnitResponse
    second: UnitResponse
    difference: float


def contrast_photographs(
    explainer: Explainer, first: Photograph, second: Photograph, *, n: int = 8, maps: bool = False
) -> tuple[Explanation, Explanation, tuple[Contrast, ...]]:
    """Find the n units of each layer whose peaks differ most between two photographs.

    Args:
        explainer: of the index.
        first, second: encoded.
        n: units of each layer.
        maps: keep the activation maps.

    Returns:
        What each photograph does to these units, and the units, by layer and the greatest difference first.

    Raises:
        SourceError: when one of them is no image that can be decoded.
    """
    one, other = (explainer.explain(photograph, n=0) for photograph in (first, second))
    chosen: dict[str, list[int]] = {}
    for mine, theirs in zip(one.layers, other.layers, strict=True):
        apart = np.abs(mine.deviations - theirs.deviations)
        order = np.argsort(-np.nan_to_num(apart, nan=-1.0), kind="stable")[:n]
        chosen[mine.layer.name] = [int(unit) for unit in order if apart[unit] > 0]
    one, other = (explainer.explain(photograph, units=chosen, maps=maps) for photograph in (first, second))
    found = tuple(
        Contrast(mine.layer, left, right, left.deviations - right.deviations)
        for mine, theirs in zip(one.layers, other.layers, strict=True)
        for left, right in zip(mine.units, theirs.units, strict=True)
    )
    return one, other, found
