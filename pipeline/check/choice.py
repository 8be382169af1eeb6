"""Which images a check runs again, and what the choice can tell.

Half of the sample is drawn from the images that lists and strata name, half from all images. Every
draw is uniform and without replacement, so the chance to miss a forgery is hypergeometric.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from pipeline.query.index import Index

__all__ = ["Choice", "choose_images", "miss_probability"]

_LISTED = """
    SELECT image_id FROM images SEMI JOIN (
        SELECT image_id FROM top UNION SELECT image_id FROM strata
    ) USING (image_id) ORDER BY image_id
"""


@dataclass(frozen=True, slots=True)
class Choice:
    """The images that are run again.

    Args:
        image_ids: in rising order.
        images: in the index.
        listed: images that a list or a stratum names.
        listed_drawn: of those, how many were drawn as such.
    """

    image_ids: tuple[int, ...]
    images: int
    listed: int
    listed_drawn: int

    @property
    def complete(self) -> bool:
        """Whether every image of the index is run again."""
        return len(self.image_ids) == self.images

    def miss(self, share: float) -> float:
        """The probability to draw none of the images, if that share of the listed ones is forged."""
        if self.complete:
            return 0.0
        return miss_probability(self.listed, math.ceil(share * self.listed), self.listed_drawn)


def miss_probability(population: int, forged: int, drawn: int) -> float:
    """The probability that `drawn` of `population`, without replacement, contain none of `forged`."""
    if drawn > population - forged:
        return 0.0 if forged else 1.0
    # C(population - forged, drawn) / C(population, drawn)
    return math.prod(1 - forged / (population - number) for number in range(drawn))


def choose_images(index: Index, sample: int | None, seed: int) -> Choice:
    """Draw the images to run again.

    Args:
        index: open.
        sample: how many; all of a smaller index, and all for None.
        seed: of the draw.
    """
    images = np.array([row[0] for row in index.sql("SELECT DISTINCT image_id FROM images").rows], np.int64)
    listed = np.array([row[0] for row in index.sql(_LISTED).rows], np.int64)
    images.sort()
    count = len(images) if sample is None else min(sample, len(images))
    generator = np.random.default_rng(seed)
    first = generator.permutation(listed)[: -(-count // 2)]
    rest = np.setdiff1d(images, first)
    second = generator.permutation(rest)[: count - len(first)]
    chosen = np.sort(np.concatenate([first, second]))
    return Choice(tuple(chosen.tolist()), len(images), len(listed), len(first))
