"""Which of a unit's top images are shown or drawn on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from pipeline.query.index import TopImage

__all__ = ["PER_ORIGIN", "choose_images"]

PER_ORIGIN = 2
"""Images cut from one original that may stand for one unit: more would say the same again."""


def choose_images(
    candidates: Iterable[TopImage], count: int, *, per_origin: int = PER_ORIGIN
) -> list[TopImage]:
    """The strongest images that are different photographs.

    Args:
        candidates: strongest first; give more than are wanted.
        count: how many are wanted; fewer come back when there are no more different ones.
        per_origin: how many may be cut from one original.
    """
    chosen: list[TopImage] = []
    photographs: set[int] = set()
    origins: Counter[str] = Counter()
    for image in candidates:
        if len(chosen) == count:
            break
        if image.photograph in photographs:
            continue
        if image.origin is not None and origins[image.origin] >= per_origin:
            continue
        photographs.add(image.photograph)
        if image.origin is not None:
            origins[image.origin] += 1
        chosen.append(image)
    return chosen
