"""The methods of an index that give images: those of units' lists, and their bytes in the dataset."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, SupportsIndex, cast

from pipeline.choices import Side
from pipeline.errors import QueryError
from pipeline.query.conditions import Condition
from pipeline.query.image_rows import ImageRows
from pipeline.query.list_rows import ListRows
from pipeline.query.peak_queries import refuse_top, top_within
from pipeline.query.results import TopImage
from pipeline.query.selection import ALL_UNITS, Units
from pipeline.query.top_lists import read_top_lists

if TYPE_CHECKING:
    from pipeline.data.dataset import Dataset
    from pipeline.query.index import Index

__all__ = ["ImageMethods"]


class ImageMethods:
    """A base of `pipeline.query.index.Index`."""

    out: Path
    _closed: bool

    def top(
        self,
        layer: str,
        unit: SupportsIndex,
        *,
        n: int = 9,
        side: Side = "high",
        where: str | None = None,
        without_label: str | None = None,
    ) -> list[TopImage]:
        """The images with the highest (or lowest) peaks of one unit, strongest first.

        An index that keeps the peaks of all images gives as many as there are. From the others come those
        that are on the unit's list, which may be fewer.

        Args:
            layer: of the index.
            unit: of the layer.
            n: images at most.
            side: `high` or `low`.
            where: a condition in SQL over the view `images`, such as `width > 500`.
            without_label: a label that the images must not have.

        Raises:
            LayerError: for a layer that is not in the index.
            QueryError: when DuckDB cannot use the condition.
            UsageError: for a unit out of range, or a label that no image has.
        """
        index = cast("Index", self)
        (listed,) = self.tops(layer, index.units(layer, [unit]), n=n, side=side).values()
        condition = Condition(where, without_label)
        condition.check(index)
        if not condition and (len(listed) == n or not index.keeps_peaks):
            return listed
        return top_within(index, layer, operator.index(unit), n, side, condition)

    def tops(
        self, layer: str, units: Units = ALL_UNITS, *, n: int = 9, side: Side = "high"
    ) -> dict[int, list[TopImage]]:
        """The first entries of the lists of several units of a layer, in one query.

        Unlike `top`, never more than the lists hold, so that all have positions.
        """
        index = cast("Index", self)
        chosen = index.units(layer, units)
        refuse_top(n, side)
        if self._closed:
            raise QueryError(f"{self.out} is closed; open it again")
        return read_top_lists(index, layer, chosen, n, side)

    @cached_property
    def image_rows(self) -> ImageRows:
        """Looks up rows of `images` by number."""
        return ImageRows(self.out / "images.parquet")

    @cached_property
    def list_rows(self) -> ListRows:
        """Looks up the lists of units in `top`."""
        return ListRows(self.out / "top.parquet")

    @cached_property
    def dataset(self) -> Dataset:
        """The indexed dataset, opened where it was indexed, or where it was said to be now.

        Raises:
            SourceError: when it is no longer there, or lacks a shard of the index.
            UntrustedIndex: when the index says where it is, and is not trusted.
        """
        from pipeline.query.originals import open_indexed_dataset

        return open_indexed_dataset(cast("Index", self))

    def image_bytes(self, image_id: int) -> bytes:
        """The encoded bytes of one image, read from the dataset by its offset.

        Raises:
            QueryError: when the index has no such image.
            SourceError: when the dataset has moved, or no longer has the image.
            ChangedImage: when the image has other bytes than when it was indexed.
        """
        return next(data for _, data in self.iterate_bytes([image_id]))

    def iterate_bytes(self, image_ids: Iterable[int]) -> Iterator[tuple[int, bytes]]:
        """As `image_bytes`, for several images, in the order of their numbers."""
        from pipeline.query.originals import read_originals

        return read_originals(cast("Index", self), image_ids)
