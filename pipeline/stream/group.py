"""The records of one group of shards: rows of `images` and `errors`, and counts per shard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pyarrow as pa

from pipeline.data.shard import BadSample, Sample, Shard
from pipeline.errors import TooManyBadImages
from pipeline.image_id import image_id
from pipeline.state.part import ShardRecord
from pipeline.store.schemas import ERRORS, IMAGES, PART_IMAGES

__all__ = ["GroupRecords"]

JUDGED_IMAGES = 1024
"""Images over which the share of bad ones is computed, at least."""

MIN_BAD_IMAGES = 10
"""Bad images in a group of shards that never stop a run, whatever their share."""

_PACKED_ROWS = 4096
"""Rows of the images table that are held as Python objects."""


class GroupRecords:
    """Collects the records of a group of shards while it is read.

    Args:
        shards: the group, sorted by name; their places are the ordinals in every image_id.
    """

    def __init__(self, shards: Sequence[Shard]) -> None:
        self.shards: list[ShardRecord] = []
        self._names = [shard.name for shard in shards]
        self._ordinals = {name: ordinal for ordinal, name in enumerate(self._names)}
        self._packed: list[pa.Table] = []
        self._images: list[Sample] = []
        self._errors: list[BadSample] = []
        self._shard_images = self._shard_errors = 0

    def add(self, sample: Sample) -> Sample:
        """Record an image; returns it numbered and without its pixels."""
        number = image_id(self._ordinals[sample.shard], sample.position)
        sample = replace(sample, image_id=number, pixels=None)
        self._images.append(sample)
        self._shard_images += 1
        if len(self._images) == _PACKED_ROWS:
            self._pack()
        return sample

    def add_bad(self, bad: BadSample) -> None:
        """Record a member that cannot be used."""
        self._errors.append(bad)
        self._shard_errors += 1

    def end_shard(self, shard: Shard, content: str, stamp: str) -> None:
        """Close the record of a shard whose samples have all been added."""
        images, errors = self._shard_images, self._shard_errors
        self.shards.append(ShardRecord(shard.name, shard.size, images, errors, shard.digest, content, stamp))
        self._shard_images = self._shard_errors = 0

    def check_bad(self, allowed: float, expected: int | None) -> None:
        """Compare the group's share of bad images with what is allowed.

        A small group counts as one of `JUDGED_IMAGES`, or of the whole run where that is smaller: bad
        images often lie together, and the share of a few shards says little about the dataset.

        Args:
            allowed: share of bad images, 0..1.
            expected: images of the run, if their number is known.

        Raises:
            TooManyBadImages: when it is larger.
        """
        bad = len(self._errors)
        total = sum(shard.images + shard.errors for shard in self.shards)
        judged = max(total, min(JUDGED_IMAGES, expected or 0))
        if bad > MIN_BAD_IMAGES and bad > allowed * judged:
            last = self._errors[-1]
            names = " to ".join(dict.fromkeys((self._names[0], self._names[-1])))
            raise TooManyBadImages(
                f"{bad} of {total} images of {names} cannot be used, more than "
                f"--max-bad-fraction {allowed:g}; the last is {last.key!r}: {last.message}. "
                "Check the dataset, or raise the fraction"
            )

    def tables(self, predictions: Mapping[str, pa.Array]) -> tuple[pa.Table, pa.Table]:
        """All rows of `images` and all of `errors`.

        Args:
            predictions: the columns that `PART_IMAGES` adds, for all images in order; may be empty.
        """
        self._pack()
        errors = {
            "shard": [bad.shard for bad in self._errors],
            "key": [bad.key for bad in self._errors],
            "error": [bad.kind for bad in self._errors],
            "message": [bad.message for bad in self._errors],
        }
        images = pa.concat_tables(self._packed)
        for field in list(PART_IMAGES)[len(IMAGES) :]:
            column = predictions.get(field.name, pa.nulls(images.num_rows, field.type))
            images = images.append_column(field, column)
        return images, pa.Table.from_pydict(errors, ERRORS)

    def _pack(self) -> None:
        """Move the rows so far into an Arrow table, which takes a tenth of their memory."""
        self._packed.append(images_table(self._images))
        self._images.clear()


def images_table(samples: Sequence[Sample]) -> pa.Table:
    """Rows of `IMAGES`; `duplicate_of` is null until the final tables are written."""
    fields = {name: name for name in IMAGES.names if name != "duplicate_of"} | {"bytes": "nbytes"}
    columns = {name: [getattr(sample, field) for sample in samples] for name, field in fields.items()}
    return pa.Table.from_pydict(columns | {"duplicate_of": [None] * len(samples)}, IMAGES)
