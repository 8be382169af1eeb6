"""How alike the peaks of units are over the same images: Pearson's correlation, or the cosine.

Sums of products are added up in float64, a block of images after another, over peaks less the unit's mean
where means do not matter. So the result is that of NumPy on the whole matrix to about 1e-12.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.choices import Likeness
from pipeline.errors import StoreError
from pipeline.query.kept_peaks import KeptPeaks

__all__ = ["UnitPeaks", "match_images", "similarities"]

_MEMORY = 1 << 28
"""Bytes of the peaks that are in memory together, of each side."""

_ROWS = 1 << 15
"""Images whose products are computed at once."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class UnitPeaks:
    """Units whose peaks are compared.

    Args:
        kept: peaks of their index.
        layer: of the units.
        units: numbers.
        rows: (image,) rows of the images to compare, in a common order; None for all, in their order.
    """

    kept: KeptPeaks
    layer: str
    units: tuple[int, ...]
    rows: npt.NDArray[np.int64] | None = None

    def spans(self) -> Iterator[tuple[slice, npt.NDArray[np.float32]]]:
        """Spans of the units, and their peaks as (unit, image)."""
        images = self.kept.matrix.image_count
        most = max(1, _MEMORY // max(4 * images, 1))
        start = self.kept.spans[self.layer].start
        first = 0
        while first < len(self.units):
            last = first + 1
            while (
                last < len(self.units)
                and last - first < most
                and self.units[last] == self.units[last - 1] + 1
            ):
                last += 1
            peaks = self.kept.matrix.units(slice(start + self.units[first], start + self.units[last - 1] + 1))
            yield slice(first, last), peaks if self.rows is None else peaks[:, self.rows]
            first = last


def similarities(first: UnitPeaks, second: UnitPeaks, by: Likeness) -> Floats:
    """Compare units of two layers, which may be of two indexes.

    Args:
        first: units with their images.
        second: other units, with as many images in the same order.
        by: `correlation`, or `cosine`.

    Returns:
        (first's unit, second's unit) float64 in -1..1; NaN where a unit's peaks are all alike, for the
        cosine where they are all 0.
    """
    found = np.empty((len(first.units), len(second.units)))
    for rows, ours in first.spans():
        for columns, theirs in second.spans():
            found[rows, columns] = _compare(ours, theirs, by)
    return found


def _compare(ours: npt.NDArray[np.float32], theirs: npt.NDArray[np.float32], by: Likeness) -> Floats:
    """Similarities of (unit, image) peaks."""
    product = np.zeros((len(ours), len(theirs)))
    squares = [np.zeros(len(each)) for each in (ours, theirs)]
    centres = [
        each.mean(axis=1, dtype=np.float64) if by == "correlation" else np.zeros(len(each))
        for each in (ours, theirs)
    ]
    for start in range(0, ours.shape[1], _ROWS):
        blocks = [
            each[:, start : start + _ROWS] - centre[:, None]
            for each, centre in zip((ours, theirs), centres, strict=True)
        ]
        product += blocks[0] @ blocks[1].T
        for square, block in zip(squares, blocks, strict=True):
            square += np.einsum("ui,ui->u", block, block)
    constant = [_constant(each, by) for each in (ours, theirs)]
    scale = np.sqrt(np.outer(*squares))
    scale[constant[0]] = scale[:, constant[1]] = np.nan
    return np.asarray(np.clip(product / scale, -1, 1), np.float64)


def _constant(peaks: npt.NDArray[np.float32], by: Likeness) -> npt.NDArray[np.bool_]:
    if not peaks.shape[1]:
        return np.ones(len(peaks), np.bool_)
    reference = peaks[:, :1] if by == "correlation" else np.float32(0)
    return np.asarray((peaks == reference).all(axis=1), np.bool_)


def match_images(
    keys: Sequence[str], other_keys: Sequence[str], where: tuple[str, str]
) -> npt.NDArray[np.int64] | None:
    """The rows of another index's images in the order of this one's, matched by key.

    Args:
        keys: of this index's images, in its order.
        other_keys: of the other's.
        where: folders of both, for errors.

    Returns:
        (image,) rows of the other index; None where both have the same images in the same order.

    Raises:
        StoreError: when one has an image that the other does not have, or a key stands for several images.
    """
    if list(keys) == list(other_keys):
        return None
    for names, folder in ((keys, where[0]), (other_keys, where[1])):
        if len(set(names)) < len(names):
            seen: set[str] = set()
            twice = next(name for name in names if name in seen or seen.add(name))  # type: ignore[func-returns-value]
            raise StoreError(
                f"{folder} has several images called {twice!r}, so images cannot be matched by name; only "
                "indexes with the same images in the same order can be compared then"
            )
    place = {name: row for row, name in enumerate(other_keys)}
    lacking = [name for name in keys if name not in place]
    if lacking or len(keys) != len(other_keys):
        names = lacking or sorted({*other_keys} - {*keys})
        of, folder = where if lacking else where[::-1]
        raise StoreError(
            f"{folder} lacks {len(names):,} of the images of {of}, such as {names[0]!r}; only indexes of the "
            "same images can be compared"
        )
    return np.array([place[name] for name in keys], np.int64)
