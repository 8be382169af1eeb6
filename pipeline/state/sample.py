"""A fixed-size sample of images, chosen by hash, from which each unit's strata are drawn.

The images with the lowest hashes form a uniform sample that does not depend on the order of the
images, the grouping of shards or the machine; two samples are merged by keeping the lowest hashes of
both (bottom-k sampling, Cohen and Kaplan 2007). Every unit's peak is kept for the sampled images.
When all parts are merged, the unit's own quantiles divide them into tenths.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = [
    "PER_STRATUM",
    "SAMPLE_SIZE",
    "STRATA_COUNT",
    "PeakSample",
    "image_hash",
    "strata_rows",
]

SAMPLE_SIZE = 128
"""Images in the sample: 12.8 expected in each tenth of a unit's range."""

STRATA_COUNT = 10
"""Equal shares of the images, by a unit's peak: stratum 9 holds the highest tenth."""

PER_STRATUM = 4
"""Images shown per stratum."""

_UNITS_AT_ONCE = 1024


def image_hash(shard: str, position: int) -> int:
    """A 63-bit hash of an image's place in its dataset, the same on every machine."""
    text = f"{position}\0{shard}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest()) >> 1


@dataclass(frozen=True, slots=True)
class PeakSample:
    """The sampled images and every unit's peak on them, in rising order of hash.

    Args:
        hashes: (image,) int64.
        image_id: (image,) int64.
        peak: (image, unit) float32.
        position: (image, unit) int32, y * grid_w + x.
    """

    hashes: npt.NDArray[np.int64]
    image_id: npt.NDArray[np.int64]
    peak: npt.NDArray[np.float32]
    position: npt.NDArray[np.int32]

    @classmethod
    def empty(cls, units: int) -> PeakSample:
        """A sample of no images."""
        none = np.zeros(0, np.int64)
        return cls(none, none, np.zeros((0, units), np.float32), np.zeros((0, units), np.int32))

    def columns(self, units: slice) -> PeakSample:
        """The same images, some of the units."""
        return PeakSample(self.hashes, self.image_id, self.peak[:, units], self.position[:, units])


def strata_rows(
    sample: PeakSample, edges: npt.NDArray[np.float32]
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Divide the sampled images of each unit into tenths and keep a few of each.

    Args:
        sample: of the whole dataset.
        edges: (unit, STRATA_COUNT - 1) float32, each unit's quantiles at 0.1 .. 0.9.

    Returns:
        unit, stratum and row of the sample, one entry per kept image, sorted by unit and stratum;
        within a stratum highest peak first. Which images are kept is decided by hash.
    """
    found = [np.zeros((3, 0), np.int32)]
    for first in range(0, len(edges), _UNITS_AT_ONCE):
        span = slice(first, first + _UNITS_AT_ONCE)
        found.append(_rows_of(sample.peak[:, span].T, edges[span], first))
    unit, stratum, row = np.concatenate(found, axis=1)
    return unit, stratum, row


def _rows_of(
    peak: npt.NDArray[np.float32], edges: npt.NDArray[np.float32], first: int
) -> npt.NDArray[np.int32]:
    """(unit, stratum and row, entry) of a span of units.

    Args:
        peak: (unit, image), by rising hash.
        edges: (unit, STRATA_COUNT - 1).
        first: number of the first unit.
    """
    stratum = np.zeros(peak.shape, np.int8)
    for edge in edges.T:
        stratum += peak > edge[:, None]
    # A stable sort keeps the rising order of hash inside a stratum.
    order = np.argsort(stratum, axis=1, kind="stable")
    ranked = np.take_along_axis(stratum, order, 1)
    place = np.arange(peak.shape[1])
    starts = np.ones(peak.shape, bool)
    starts[:, 1:] = ranked[:, 1:] != ranked[:, :-1]
    since = place - np.maximum.accumulate(np.where(starts, place, 0), axis=1)
    unit, chosen = (since < PER_STRATUM).nonzero()
    row = order[unit, chosen]
    stratum_of = stratum[unit, row]
    order_of = np.lexsort((row, -peak[unit, row], stratum_of, unit))
    return np.stack([unit[order_of] + first, stratum_of[order_of], row[order_of]]).astype(np.int32)
