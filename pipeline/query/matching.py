"""The nearest unit of another index for each unit: the one that shares most of its top images."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.query.index import Index
from pipeline.query.same_images import IMAGES_DIGEST, refuse_other_images

__all__ = ["Match", "TopLists", "find_matches", "images_of", "read_lists"]

CHUNK = 256
"""Units that are compared with all others at once."""

_LISTS = """
SELECT layer, unit, image_id FROM top
WHERE side = 'high' AND layer = coalesce($wanted, layer) ORDER BY layer, unit, image_id
"""

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Match:
    """The nearest unit in another index.

    Args:
        layer: of the other index.
        unit: of that layer.
        shared: number of images in both top lists.
        jaccard: shared over the number of images in either list.
    """

    layer: str
    unit: int
    shared: int
    jaccard: float


def find_matches(
    index: Index, other: Index, chosen: Mapping[str, Sequence[int]]
) -> dict[tuple[str, int], Match]:
    """Find the nearest unit among all layers of another index; the query `compare` does so for two layers.

    Args:
        index: open.
        other: of the same dataset.
        chosen: units by layer.

    Returns:
        By layer and unit; units that share no top image with any are left out. Of equally near ones, it is
        the one in the layer of the same name, then the first in forward order.

    Raises:
        StoreError: if the other index is of another dataset.
    """
    ours, theirs = images_of(index), images_of(other)
    refuse_other_images(index.out, ours, other.out, theirs)
    mine, others = read_lists(index), TopLists.of(other)
    found: dict[tuple[str, int], Match] = {}
    for layer, units in chosen.items():
        lists = {unit: mine[layer, unit] for unit in units if (layer, unit) in mine}
        found |= {(layer, unit): match for unit, match in others.nearest(layer, lists)}
    return found


def images_of(index: Index) -> dict[str, int]:
    """Number and digest of an index's images: indexes of one dataset have the same."""
    return index.sql(IMAGES_DIGEST.format(schema="main")).dicts()[0]


def read_lists(index: Index, layer: str | None = None) -> dict[tuple[str, int], Numbers]:
    """The images on the top list of each unit, of one layer or of all."""
    grouped: dict[tuple[str, int], list[int]] = defaultdict(list)
    for name, unit, image_id in index.sql(_LISTS, wanted=layer).rows:
        grouped[name, unit].append(image_id)
    return {key: np.array(images, np.int64) for key, images in grouped.items()}


@dataclass(frozen=True, slots=True)
class TopLists:
    """The top lists of an index, by image.

    Args:
        keys: layer and unit, in forward order.
        sizes: (unit,) length of each list.
        images: (entry,) image_id, ascending.
        owners: (entry,) place in `keys`.
    """

    keys: Sequence[tuple[str, int]]
    sizes: Numbers
    images: Numbers
    owners: Numbers

    @classmethod
    def of(cls, index: Index) -> TopLists:
        """Those of all units of an index that have one."""
        lists = read_lists(index)
        order = {layer.name: layer.ordinal for layer in index.layers}
        keys = sorted(lists, key=lambda key: (order[key[0]], key[1]))
        return cls.collect(keys, [lists[key] for key in keys])

    @classmethod
    def collect(cls, keys: Sequence[tuple[str, int]], lists: Sequence[Numbers]) -> TopLists:
        """Arrange lists by image."""
        sizes = np.array([len(each) for each in lists], np.int64)
        images = np.concatenate([np.empty(0, np.int64), *lists])
        by_image = np.argsort(images, kind="stable")
        owners = np.repeat(np.arange(len(keys)), sizes)
        return cls(keys, sizes, images[by_image], owners[by_image])

    def nearest(self, layer: str, lists: Mapping[int, Numbers]) -> Iterator[tuple[int, Match]]:
        """The nearest unit for each list of a layer that shares an image with any."""
        differs = np.array([name != layer for name, _ in self.keys])
        units = list(lists)
        for first in range(0, len(units), CHUNK):
            chunk = units[first : first + CHUNK]
            row, place, shared = self.shared([lists[unit] for unit in chunk])
            lengths = np.array([len(lists[unit]) for unit in chunk])
            jaccard = shared / (lengths[row] + self.sizes[place] - shared)
            best = np.lexsort((place, differs[place], -jaccard, row))
            for head in best[np.unique(row[best], return_index=True)[1]]:
                name, unit = self.keys[place[head]]
                match = Match(name, unit, int(shared[head]), float(jaccard[head]))
                yield chunk[row[head]], match

    def shared(self, lists: Sequence[Numbers]) -> tuple[Numbers, Numbers, Numbers]:
        """All pairs with a shared image: number of the list, place in `keys`, number of shared images."""
        wanted = np.concatenate(lists)
        own = np.repeat(np.arange(len(lists)), [len(each) for each in lists])
        start, end = (np.searchsorted(self.images, wanted, side=side) for side in ("left", "right"))
        counts = end - start
        steps = np.arange(counts.sum()) - np.repeat(counts.cumsum() - counts, counts)
        pairs = np.repeat(own, counts) * len(self.keys) + self.owners[np.repeat(start, counts) + steps]
        counted = np.bincount(pairs, minlength=1)
        keys = counted.nonzero()[0]
        shared = counted[keys]
        row, place = np.divmod(keys, max(1, len(self.keys)))
        return row, place, shared
